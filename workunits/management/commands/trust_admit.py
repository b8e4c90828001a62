"""`manage.py trust_admit SHA256`: have a model examined again, after it was refused or (`--again`) revoked."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from workunits.management.trust import FOLDER_HELP, TrustCommand
from workunits.store.admissions import ask_again
from workunits.trust.errors import TrustError
from workunits.trust.folder import AdmissionFolder


class Command(TrustCommand):
    """A model is never signed by hand: it passes the examination, or it is refused."""

    help = "Ask the admission service to examine a model again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sha256")
        parser.add_argument("--again", action="store_true", help="although it was revoked; needs the service's folder")
        parser.add_argument("--folder", type=Path, default=settings.FLEET_ADMISSION_FOLDER, help=FOLDER_HELP)

    def run(self, options: dict[str, Any]) -> None:
        sha256 = options["sha256"]
        if options["again"]:
            folder = AdmissionFolder(options["folder"])
            folder.check()
            folder.allow(sha256)
        if not ask_again(sha256, now=timezone.now()):
            if options["again"]:
                self.stdout.write("It is not revoked any more; no researcher has brought it yet.")
                return
            raise TrustError(f"no researcher has brought a model with the hash {sha256}")
        self.stdout.write("Asked. `manage.py trust_status` shows what comes of it.")
