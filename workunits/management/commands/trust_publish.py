"""`manage.py trust_publish STAGED …`: hand signed changes to the admission service, in the order they need."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError
from django.utils import timezone

from workunits.management.trust import STAGED_HELP, TrustCommand
from workunits.store.trust_files import get_order, give_order
from workunits.trust.names import ROOT
from workunits.trust.staged import Staged, ThresholdMissed

LOOK_SECONDS: Final = 0.5


class Command(TrustCommand):
    """Refuses what has too few signatures; the admission service checks them again, against the root in force."""

    help = "Publish signed changes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("staged", type=Path, nargs="+", help=STAGED_HELP)
        parser.add_argument("--wait-seconds", type=float, default=30.0, help="for the service; 0: do not wait")

    def run(self, options: dict[str, Any]) -> None:
        changes = [Staged.read(path) for path in options["staged"]]
        for staged in changes:
            if missing := staged.missing():
                raise ThresholdMissed("; ".join(missing))
        for staged in sorted(changes, key=lambda staged: 0 if staged.coming else 1 if staged.role == ROOT else 2):
            order_id = give_order("publish", content=staged.to_bytes(), now=timezone.now())
            self._wait(order_id, staged, options["wait_seconds"])

    def _wait(self, order_id: int, staged: Staged, seconds: float) -> None:
        give_up_at = time.monotonic() + seconds
        while (order := get_order(order_id)).done_at is None:
            if time.monotonic() >= give_up_at:
                self.stdout.write(f"{staged.role}: ordered; the admission service has not taken it yet.")
                return
            time.sleep(LOOK_SECONDS)
        if order.outcome.startswith("refused"):
            raise CommandError(order.outcome)
        self.stdout.write(order.outcome)
