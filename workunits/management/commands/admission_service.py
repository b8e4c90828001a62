"""`manage.py admission_service`: examine models, sign the repository, publish it. Run it as a user of its own."""

from __future__ import annotations

import logging
import signal
import threading
from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from workunits.management.trust import FOLDER_HELP, TrustCommand, prepare_demo
from workunits.pipeline.admission import AdmissionService
from workunits.pipeline.examine import list_sandbox_locks
from workunits.store.trust_files import claim_publishing
from workunits.trust import names
from workunits.trust.errors import TrustError
from workunits.trust.folder import AdmissionFolder
from workunits.trust.repository import Lifetimes, Repository

log = logging.getLogger("admission")


class Command(TrustCommand):
    """Serve until SIGTERM or SIGINT; ends with a sentence where something is not as it must be."""

    help = "Run the admission service (settings: fleetcompute.settings.admission)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--folder", type=Path, default=settings.FLEET_ADMISSION_FOLDER, help=FOLDER_HELP)
        parser.add_argument("--poll-seconds", type=float, default=1.0, help="pause between two looks for work")
        parser.add_argument("--bin-bits", type=int, default=names.BIN_BITS, help="2^N bins; fixed by the first run")
        parser.add_argument(
            "--timestamp-hours", type=float, default=names.TIMESTAMP_LIFETIME.total_seconds() / 3600, help="at most 24"
        )
        parser.add_argument(
            "--accept-weak-sandbox", action="store_true", help="examine although a model might reach the keys"
        )
        parser.add_argument("--once", action="store_true", help="do what waits, then end")
        parser.add_argument("--demo-origin", metavar="ORIGIN", help="make every key here first: demonstrations only")

    def run(self, options: dict[str, Any]) -> None:
        folder = AdmissionFolder(options["folder"])
        if options["demo_origin"]:
            offline = settings.FLEET_HOME / "offline-keys"
            prepare_demo(folder, offline, origin=options["demo_origin"], now=timezone.now())
        folder.check()
        if "landlock" not in list_sandbox_locks() and not options["accept_weak_sandbox"]:
            raise TrustError(
                "this kernel has no Landlock, so a hostile model that takes over its examination could reach the keys;"
                " use a newer kernel (5.13 or later with Landlock enabled), or --accept-weak-sandbox"
            )
        if not 1 <= options["bin_bits"] <= names.BIN_BITS_MAX:
            raise TrustError(f"--bin-bits must be 1 to {names.BIN_BITS_MAX}")
        lifetime = timedelta(hours=options["timestamp_hours"])
        lifetimes = Lifetimes(timestamp=lifetime, timestamp_period=min(names.TIMESTAMP_PERIOD, lifetime / 2))
        if settings.DATABASES["default"].get("DISABLE_SERVER_SIDE_CURSORS"):
            raise TrustError(
                "a pooler would lose the lock that keeps a second service out: connect to PostgreSQL itself"
            )
        with folder.lock():
            if not claim_publishing():
                raise TrustError("another admission service publishes into this database")
            folder.clear_scratch()
            repository = Repository(folder, bin_bits=options["bin_bits"], lifetimes=lifetimes)
            _serve(AdmissionService(repository), poll_seconds=options["poll_seconds"], is_once=options["once"])


def _serve(service: AdmissionService, *, poll_seconds: float, is_once: bool) -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    log.info("the admission service runs")
    while not stopping.is_set():
        done = service.run_once(clock=timezone.now)
        if is_once and not done:
            return
        # More may wait behind a full handful.
        stopping.wait(0.0 if done else poll_seconds)
