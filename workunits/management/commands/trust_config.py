"""`manage.py trust_config`: stage what every car is told by the offline keys: origins, egress budget, refresh."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.utils import timezone

from workunits.management.trust import TrustCommand, add_out, read_root, read_target, read_targets
from workunits.trust.names import CONFIG_TARGET
from workunits.trust.offline import CarConfig, next_targets


class Command(TrustCommand):
    """What is not given stays as it is."""

    help = "Stage another configuration of the cars."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--origin", nargs="+", help="every origin that cars may connect to")
        parser.add_argument("--egress-bytes-per-day", type=int)
        parser.add_argument("--refresh-seconds", type=float, help="how often cars look at the repository, at least")
        add_out(parser, "targets.staged.json")

    def run(self, options: dict[str, Any]) -> None:
        known = read_target(CONFIG_TARGET)
        given = {
            "origins": options["origin"],
            "egress_bytes_per_day": options["egress_bytes_per_day"],
            "refresh_seconds": options["refresh_seconds"],
        }
        chosen = {**known, **{name: value for name, value in given.items() if value is not None}}
        config = CarConfig(**{**chosen, "origins": tuple(chosen["origins"])})
        staged = next_targets(read_targets().signed, now=timezone.now(), config=config)
        staged.in_force = read_root()
        self.stage(staged, options["out"])
