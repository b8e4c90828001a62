"""`manage.py trust_release WHEEL --channel stable --ring 5`: stage a client release."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.utils import timezone

from workunits.management.trust import TrustCommand, add_out, read_root, read_target, read_targets
from workunits.trust.names import CHANNELS, CHANNELS_TARGET
from workunits.trust.offline import Release, next_targets


class Command(TrustCommand):
    """The same wheel again with a larger ring widens a rollout."""

    help = "Stage a client release on a channel, for a share of the cars."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("wheel", type=Path)
        parser.add_argument("--channel", choices=CHANNELS, default="stable", help="default: stable")
        parser.add_argument(
            "--ring", type=float, default=100.0, metavar="PERCENT", help="share of the cars (default: all of them)"
        )
        parser.add_argument("--security", action="store_true", help="cars do not wait for a plug")
        add_out(parser, "targets.staged.json")

    def run(self, options: dict[str, Any]) -> None:
        wheel: Path = options["wheel"]
        release = Release(
            channel=options["channel"],
            file_name=wheel.name,
            content=wheel.read_bytes(),
            ring_percent=options["ring"],
            is_security=options["security"],
        )
        channels = read_target(CHANNELS_TARGET)["channels"]
        staged = next_targets(read_targets().signed, now=timezone.now(), release=release, channels=channels)
        staged.in_force = read_root()
        self.stage(staged, options["out"])
