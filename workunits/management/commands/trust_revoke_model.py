"""`manage.py trust_revoke_model SHA256`: take a model out of the repository; no car runs it after its next look."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from typing import Any

from django.utils import timezone

from workunits.management.trust import TrustCommand
from workunits.models import TrustOrder
from workunits.store.trust_files import give_order
from workunits.trust.errors import TrustError


class Command(TrustCommand):
    """For good: only somebody with the admission service's folder can admit it again (`trust_admit --again`)."""

    help = "Revoke a model everywhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sha256")

    def run(self, options: dict[str, Any]) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", options["sha256"]):
            raise TrustError("name the model by its SHA-256, 64 hexadecimal digits")
        give_order(TrustOrder.Kind.REVOKE, sha256=options["sha256"], now=timezone.now())
        self.stdout.write("Ordered. Cars stop running it at their next look at the repository.")
