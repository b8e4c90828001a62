"""What the operators' trust commands share: passwords, staged files, and what is in force."""

from __future__ import annotations

import getpass
import json
import os
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from tuf.api.metadata import Metadata, Root, Targets

from workunits.store.trust_files import get_trust_file, give_order, list_published
from workunits.trust import names
from workunits.trust.errors import TrustError
from workunits.trust.folder import AdmissionFolder, read_bundle
from workunits.trust.kept import KeptFiles
from workunits.trust.keys import load_public, load_signer, make_key
from workunits.trust.offline import CarConfig, Holders, first_root, first_targets, next_targets
from workunits.trust.staged import Staged

PASSWORD_VARIABLE: Final = "FLEET_TRUST_PASSWORD"  # noqa: S105 - a variable's name
DEMO_KEYS: Final = ("alice", "bob", "carol")


class TrustCommand(BaseCommand):
    """A command whose refusals are one sentence. Subclasses write `run`."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's; an offline machine has no database

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command; what it refuses becomes one sentence."""
        try:
            self.run(options)
        except TrustError as refusal:
            raise CommandError(str(refusal)) from None

    def run(self, options: dict[str, Any]) -> None:
        """Do what the command is for. Raises TrustError."""
        raise NotImplementedError

    def stage(self, staged: Staged, out: Path) -> None:
        """Write a staged change and say what comes next."""
        out.write_bytes(staged.to_bytes())
        self.stdout.write(f"Staged {staged.role} version {staged.metadata.signed.version} in {out}.")
        self.stdout.write(f"Next: `manage.py trust_sign {out} --key KEY` by each of those who must sign, then")
        self.stdout.write(f"`manage.py trust_publish {out}`.")


def add_out(parser: ArgumentParser, default: str) -> None:
    """Add the option that names the staged file."""
    parser.add_argument("--out", type=Path, default=Path(default), metavar="FILE", help=f"default: {default}")


def read_password(path: Path, *, is_new: bool = False) -> str:
    """Return the password of a key from the environment, else from the terminal."""
    known = os.environ.get(PASSWORD_VARIABLE)
    if known:
        return known
    password = getpass.getpass(f"Password of {path}: ")
    if is_new and password != getpass.getpass("Again: "):
        raise TrustError("the two passwords differ; nothing was made")
    if is_new and not password:
        raise TrustError("an offline key needs a password (or --unencrypted, for demonstrations)")
    return password


def read_root() -> Metadata[Root]:
    """Return the newest published root. Raises TrustError where there is none."""
    return _read_newest(names.ROOT)


def read_targets() -> Metadata[Targets]:
    """Return the published targets. Raises TrustError where there are none."""
    return _read_newest(names.TARGETS)


def read_target(path: str) -> Any:
    """Return a published JSON target."""
    target = read_targets().signed.targets[path]
    found = get_trust_file(names.target_name(path, target.hashes["sha256"]))
    if found is None:
        raise TrustError(f"{path} is not among the published files")
    return json.loads(found[0])


def _read_newest(role: str) -> Metadata[Any]:
    versions = [version for name, version in list_published().items() if name == names.file_name(role, version)]
    found = get_trust_file(names.file_name(role, max(versions))) if versions else None
    if found is None:
        raise TrustError(f"no {role} is published yet: is the admission service running, was trust_init published?")
    return Metadata.from_bytes(found[0])


# -- demonstrations ----------------------------------------------------------------------------------------------


def prepare_demo(folder: AdmissionFolder, offline: Path, *, origin: str, now: datetime) -> None:
    """Make every key on this machine and order the first root and targets, or add an origin to those there are.

    For demonstrations only: with the offline keys in a folder beside the server, nothing is offline about them.
    """
    bundles = sorted(folder.path.glob("public-*.json"))
    bundle = bundles[-1] if bundles else folder.make()
    offline.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in DEMO_KEYS:
        if not (offline / f"{name}.pub").exists():
            (offline / f"{name}.pem").unlink(missing_ok=True)  # a start that was killed here left half a key
            make_key(offline / f"{name}.pem", name=name, password=None)
    if not any(folder.repository.glob("1.root.json")):
        for staged in _first(bundle, offline, origin=origin, now=now):
            give_order("publish", content=_signed(staged, offline).to_bytes(), now=now)
        return
    _add_origin(folder, offline, origin=origin, now=now)


def _first(bundle: Path, offline: Path, *, origin: str, now: datetime) -> tuple[Staged, Staged]:
    people = [load_public(offline / f"{name}.pub") for name in DEMO_KEYS]
    holders = Holders(
        root=people,
        root_threshold=names.THRESHOLD,
        targets=people,
        targets_threshold=names.THRESHOLD,
        online=read_bundle(bundle),
    )
    root = first_root(holders, now=now)
    targets = first_targets(holders, CarConfig(origins=(origin,)), now=now)
    targets.in_force = root.metadata
    return root, targets


def _add_origin(folder: AdmissionFolder, offline: Path, *, origin: str, now: datetime) -> None:
    """Let cars talk to this origin too: a demonstration's port changes from one start to the next."""
    kept = KeptFiles(folder.repository)
    if kept.targets is None or kept.root is None:
        return
    target = kept.targets.signed.targets[names.CONFIG_TARGET]
    config = json.loads(kept.read(names.target_name(names.CONFIG_TARGET, target.hashes["sha256"])))
    is_old = kept.targets.signed.expires - now < names.TARGETS_LIFETIME / 2
    if origin in config["origins"] and not is_old:
        return
    chosen = CarConfig(**{**config, "origins": tuple(dict.fromkeys([*config["origins"], origin]))})
    staged = next_targets(kept.targets.signed, now=now, config=chosen)
    staged.in_force = kept.root
    give_order("publish", content=_signed(staged, offline).to_bytes(), now=now)


def _signed(staged: Staged, offline: Path) -> Staged:
    for name in DEMO_KEYS[: names.THRESHOLD]:
        staged.sign(load_signer(offline / f"{name}.pem"))
    return staged
