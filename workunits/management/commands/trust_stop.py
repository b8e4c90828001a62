"""`manage.py trust_stop`: stop every car, or (`--resume`, with the service's folder) let them work again."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from workunits.management.trust import FOLDER_HELP, TrustCommand
from workunits.models import TrustOrder
from workunits.store.trust_files import close_order, give_order, list_open_orders
from workunits.trust.folder import AdmissionFolder


class Command(TrustCommand):
    """Anybody who can reach the database can stop the fleet; only the admission service's user can start it again."""

    help = "Stop the fleet: the last timestamp expires at once and no other is signed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--resume", action="store_true", help="sign again; needs the service's folder")
        parser.add_argument("--folder", type=Path, default=settings.FLEET_ADMISSION_FOLDER, help=FOLDER_HELP)

    def run(self, options: dict[str, Any]) -> None:
        if options["resume"]:
            folder = AdmissionFolder(options["folder"])
            folder.check()
            for order in list_open_orders():
                if order.kind == TrustOrder.Kind.STOP:  # a service that was down would obey it after this
                    close_order(order.id, outcome="withdrawn: the fleet was resumed", now=timezone.now())
            folder.resume()
            self.stdout.write("The admission service signs again; cars work again after their next look.")
            return
        give_order(TrustOrder.Kind.STOP, now=timezone.now())
        self.stdout.write("Ordered. Cars stop at their next look at the repository, all others when what they have")
        self.stdout.write("expires: within a day at most, whatever the web tier does.")
