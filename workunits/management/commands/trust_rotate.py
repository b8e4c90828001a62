"""`manage.py trust_rotate root|targets|online`: stage other keys, another threshold, or only a later expiry."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.utils import timezone

from workunits.management.trust import THRESHOLD_HELP, TrustCommand, read_root, read_targets
from workunits.trust import names
from workunits.trust.errors import TrustError
from workunits.trust.folder import read_bundle
from workunits.trust.keys import load_public
from workunits.trust.offline import next_root, next_targets
from workunits.trust.staged import Staged


class Command(TrustCommand):
    """`online` replaces the admission service's keys: a root for snapshot and timestamp, targets for the models."""

    help = "Stage new keys of a role, or renew it with the keys it has (without --keys and --bundle)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("role", choices=("root", "targets", "online"))
        parser.add_argument("--keys", type=Path, nargs="+", metavar="PUB", help="all who may sign from now on")
        parser.add_argument("--threshold", type=int, default=names.THRESHOLD, help=THRESHOLD_HELP)
        parser.add_argument("--bundle", type=Path, metavar="FILE", help="online: the service's new public-N.json")
        parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the staged files go")

    def run(self, options: dict[str, Any]) -> None:
        for staged in self._stage_changes(options):
            staged.in_force = read_root()
            self.stage(staged, options["out"] / f"{staged.role}.staged.json")

    def _stage_changes(self, options: dict[str, Any]) -> list[Staged]:
        role, now = options["role"], timezone.now()
        root, targets = read_root().signed, read_targets().signed
        if role == "online":
            if options["bundle"] is None:
                raise TrustError("name the service's new keys with --bundle public-N.json (trust_init --online)")
            keys = read_bundle(options["bundle"])
            top = {name: ([keys[name]], 1) for name in (names.SNAPSHOT, names.TIMESTAMP)}
            return [
                next_root(root, now=now, holders=top),
                next_targets(targets, now=now, models_key=keys[names.MODELS]),
            ]
        if options["keys"]:
            people = [load_public(path) for path in options["keys"]]
            following = next_root(root, now=now, holders={role: (people, options["threshold"])})
            if role == names.ROOT:
                return [following]
            # Cars must find targets that both roots accept, so they are signed by old and new keys, and come first.
            renewed = next_targets(targets, now=now)
            renewed.coming = following.metadata
            return [renewed, following]
        return [next_root(root, now=now)] if role == names.ROOT else [next_targets(targets, now=now)]
