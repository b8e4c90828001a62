"""`manage.py anchor`: run units again for audits and disputes. Run it on a machine that you trust."""

from __future__ import annotations

import signal
import socket
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from workunits.pipeline.anchors import get_client, run_next
from workunits.sandbox.rerun import AnchorUnfit, check_machine


class Command(BaseCommand):
    """Run what waits, one unit at a time, until SIGTERM or SIGINT."""

    help = "Run units again on this machine, as audits and disputes ask for, in the vehicle client's confined runner."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", default=socket.gethostname(), help="what others call this machine")
        parser.add_argument("--poll-seconds", type=float, default=2.0, help="pause between two looks for work")
        parser.add_argument("--once", action="store_true", help="run what waits, then end")

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        if options["once"]:
            try:
                check_machine(get_client())
            except AnchorUnfit as problem:
                raise CommandError(str(problem)) from None
        while not stopping.is_set():
            was_one = run_next(worker=options["name"], now=timezone.now(), should_stop=stopping.is_set)
            if options["once"] and not was_one:
                return
            # A run that failed waits again at once, and is not this machine's alone.
            stopping.wait(0.0 if was_one else options["poll_seconds"])
