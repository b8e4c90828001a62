"""What the operators' trust commands share: passwords, staged files, and what is in force."""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from tuf.api.exceptions import RepositoryError
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
_NOTHING: Final = "no {role} is published yet: is the admission service running, was trust_init published?"
DEMO_KEYS: Final = ("alice", "bob", "carol")
# Options that several commands have.
FOLDER_HELP: Final = "the service's (default: FLEET_ADMISSION_FOLDER)"
THRESHOLD_HELP: Final = f"how many of them must sign (default: {names.THRESHOLD})"
STAGED_HELP: Final = "what another trust command has written"


class TrustCommand(BaseCommand):
    """A command whose refusals are one sentence. Subclasses write `run`."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's; an offline machine has no database

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command; what it refuses becomes one sentence."""
        logging.getLogger("tuf").setLevel(logging.WARNING)  # it tells of every key that has not signed
        try:
            self.run(options)
        except TrustError as refusal:
            raise CommandError(str(refusal)) from None
        except OSError as problem:
            if problem.filename is None:
                raise
            raise CommandError(f"{problem.filename}: {problem.strerror}.") from None

    def run(self, options: dict[str, Any]) -> None:
        """Do what the command is for. Raises TrustError."""
        raise NotImplementedError

    def stage(self, staged: Staged, out: Path, *, is_first: bool = False) -> None:
        """Write a staged change and say what comes next. The fleet's first one follows nothing and asks no database."""
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(staged.to_bytes())
        self.stdout.write(f"Staged {staged.role} version {staged.metadata.signed.version} in {out}.")
        if not is_first and (fingerprint := first_fingerprint()):
            self.stdout.write(f"It follows what is published under the first root {fingerprint}: is that your fleet's?")
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
    try:
        password = getpass.getpass(f"Password of {path}: ")
        again = getpass.getpass("Again: ") if is_new else password
    except EOFError:
        raise TrustError(f"there is no terminal to ask for the password; set {PASSWORD_VARIABLE}") from None
    if password != again:
        raise TrustError("the two passwords differ; nothing was made")
    if is_new and not password:
        raise TrustError("an offline key needs a password (or --unencrypted, for demonstrations)")
    return password


def read_root() -> Metadata[Root]:
    """Return the newest published root, each verified by the one before. Raises TrustError where there is none.

    What people sign next is built on it, and the web tier might have written to the copy that is read here. Whether
    the first root is the fleet's own is told by its fingerprint, which `stage` shows.
    """
    root = _read(names.ROOT, 1, None)
    if root is None:
        raise TrustError(_NOTHING.format(role=names.ROOT))
    while (following := _read(names.ROOT, root.signed.version + 1, root.signed)) is not None:
        root = following
    return root


def read_targets() -> Metadata[Targets]:
    """Return the published targets, verified by the newest root. Raises TrustError where there are none."""
    root = read_root().signed
    versions = [
        version for name, version in list_published().items() if name == names.file_name(names.TARGETS, version)
    ]
    targets = _read(names.TARGETS, max(versions), root) if versions else None
    if targets is None:
        raise TrustError(_NOTHING.format(role=names.TARGETS))
    return targets


def first_fingerprint() -> str:
    """Return the SHA-256 of the first root, empty where none is published; owners know it by another way."""
    found = get_trust_file(names.file_name(names.ROOT, 1))
    return hashlib.sha256(found[0]).hexdigest() if found else ""


def read_target(path: str) -> Any:
    """Return a published JSON target."""
    target = read_targets().signed.targets[path]
    found = get_trust_file(names.target_name(path, target.hashes["sha256"]))
    if found is None:
        raise TrustError(f"{path} is not among the published files")
    try:
        target.verify_length_and_hashes(found[0])
    except RepositoryError:
        raise TrustError(f"the published {path} is not the file that was signed, somebody has changed it") from None
    return json.loads(found[0])


def _read(role: str, version: int, delegator: Root | None) -> Metadata[Any] | None:
    """Return a published file with enough signatures of the delegator's keys, and (a root) of its own."""
    name = names.file_name(role, version)
    found = get_trust_file(name)
    if found is None:
        return None
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(found[0])
        own = [metadata.signed] if role == names.ROOT else []
        for known in own if delegator is None else [delegator, *own]:
            known.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise TrustError(f"the published {name} cannot be believed, somebody has changed it: {error}") from None
    if metadata.signed.version != version:
        raise TrustError(f"the published {name} is version {metadata.signed.version}: somebody has exchanged it")
    return metadata


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
