"""`manage.py trust_init`: the service's keys (`--online`), or the first root and targets to sign."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from workunits.management.trust import FOLDER_HELP, THRESHOLD_HELP, TrustCommand, prepare_demo
from workunits.store.trust_files import get_trust_file, iter_log, list_revoked
from workunits.trust import names
from workunits.trust.errors import TrustError
from workunits.trust.folder import AdmissionFolder, read_bundle
from workunits.trust.keys import load_public
from workunits.trust.log import Entry
from workunits.trust.offline import CarConfig, Holders, first_root, first_targets
from workunits.trust.restore import restore


class Command(TrustCommand):
    """`--online` and `--restore` on the service's host, `--bundle …` to stage, `--demo` for everything here."""

    help = "Make the admission service's keys, or stage the first root and targets."

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--online", action="store_true", help="make the service's keys (again: the next generation)")
        what.add_argument("--bundle", type=Path, metavar="FILE", help="public-N.json of the service: stage the start")
        what.add_argument(
            "--restore", action="store_true", help="the service's folder is lost: rebuild it, with new keys"
        )
        what.add_argument("--demo", action="store_true", help="make and sign everything here: for demonstrations")
        parser.add_argument("--folder", type=Path, default=settings.FLEET_ADMISSION_FOLDER, help=FOLDER_HELP)
        parser.add_argument("--root-key", type=Path, nargs="+", default=[], metavar="PUB", help="who signs root")
        parser.add_argument("--root-threshold", type=int, default=names.THRESHOLD, help=THRESHOLD_HELP)
        parser.add_argument("--targets-key", type=Path, nargs="+", default=[], metavar="PUB", help="default: as root")
        parser.add_argument("--targets-threshold", type=int, default=names.THRESHOLD, help=THRESHOLD_HELP)
        parser.add_argument("--origin", nargs="+", default=[settings.FLEET_PUBLIC_URL], help="where cars may connect")
        parser.add_argument("--egress-bytes-per-day", type=int, default=CarConfig.egress_bytes_per_day)
        parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the staged files go")

    def run(self, options: dict[str, Any]) -> None:
        folder = AdmissionFolder(options["folder"])
        now = timezone.now()
        if options["online"]:
            self.stdout.write(f"Take {folder.make()} to the machine where root and targets are staged.")
        elif options["restore"]:
            self._restore(folder)
        elif options["demo"]:
            prepare_demo(folder, settings.FLEET_HOME / "offline-keys", origin=options["origin"][0], now=now)
            self.stdout.write("Everything is made and ordered; `manage.py admission_service` publishes it.")
        else:
            self._stage_first(options, options["out"])

    def _restore(self, folder: AdmissionFolder) -> None:
        bundle = folder.make()
        entries = [Entry(**line) for line in iter_log()]
        restore(folder, read=lambda name: (get_trust_file(name) or (None, 0))[0], entries=entries)
        for sha256 in list_revoked() - {entry.sha256 for entry in entries}:
            folder.deny(sha256)  # revoked before anybody brought it, so the log does not name it
        self.stdout.write(f"Restored, with new keys. Nothing is signed until people let them in: take {bundle} to")
        self.stdout.write("`manage.py trust_rotate online --bundle …`, sign both files and publish them.")

    def _stage_first(self, options: dict[str, Any], out: Path) -> None:
        people = [load_public(path) for path in options["root_key"]]
        if not people:
            raise TrustError("name the public keys of those who sign root with --root-key A.pub B.pub C.pub")
        holders = Holders(
            root=people,
            root_threshold=options["root_threshold"],
            targets=[load_public(path) for path in options["targets_key"]] or people,
            targets_threshold=options["targets_threshold"],
            online=read_bundle(options["bundle"]),
        )
        config = CarConfig(origins=tuple(options["origin"]), egress_bytes_per_day=options["egress_bytes_per_day"])
        now = timezone.now()
        root, targets = first_root(holders, now=now), first_targets(holders, config, now=now)
        targets.in_force = root.metadata
        self.stage(root, out / "root.staged.json", is_first=True)
        self.stage(targets, out / "targets.staged.json", is_first=True)
