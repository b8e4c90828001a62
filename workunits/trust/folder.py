"""The admission service's folder: its keys, its own copy of the repository, its log. Nobody else may read it.

keys/        NAME-N.pem and .pub for each of models, snapshot, timestamp; a later N replaces an earlier one
public-N.json    the public halves of generation N, to take to the offline machines
repository/  the files as cars fetch them; this copy is the truth, the database only shows it
log.jsonl    the public log of models
denied.json  models that were revoked and stay so whatever the web tier asks
stopped      exists while the fleet is stopped
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, ClassVar, Final

from securesystemslib.signer import CryptoSigner, SSlibKey

from workunits.trust.errors import TrustError
from workunits.trust.keys import load_signer, make_key, public_document, read_public
from workunits.trust.names import ONLINE_ROLES

SCRATCH_PREFIX: Final = "examining-"


class FolderUnsafe(TrustError):
    """Others can read the folder of the admission service, or it is not there."""

    code: ClassVar[str] = "folder_unsafe"


class FolderBusy(TrustError):
    """Another admission service uses this folder."""

    code: ClassVar[str] = "folder_busy"


class AdmissionFolder:
    """Paths in one folder, and the few small files that are no metadata."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = path / "keys"
        self.repository = path / "repository"
        self.log = path / "log.jsonl"
        self._denied = path / "denied.json"
        self._stopped = path / "stopped"

    def make(self) -> Path:
        """Make the folder where there is none, and the next generation of keys in it; return the public bundle."""
        for folder in (self.path, self.keys, self.repository):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.check()
        number = 1 + self._newest_generation()
        public = {
            role: public_document(make_key(self.keys / f"{role}-{number}.pem", name=f"{role}-{number}", password=None))
            for role in ONLINE_ROLES
        }
        bundle = self.path / f"public-{number}.json"
        write_file(bundle, (json.dumps(public, indent=1) + "\n").encode())
        return bundle

    def _newest_generation(self) -> int:
        """Return the highest number in use; keys of a run that was cut off count, and so does a bundle taken away."""
        taken = (*self.keys.glob("*-*.pem"), *self.keys.glob("*-*.pub"), *self.path.glob("public-*.json"))
        numbers = (path.stem.rpartition("-")[2] for path in taken)
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def check(self) -> None:
        """Refuse a folder that another user owns or may look into. Raises FolderUnsafe."""
        for folder in (self.path, self.keys):
            try:
                found = folder.stat()
            except OSError as error:
                raise FolderUnsafe(
                    f"{folder} cannot be used: {error.strerror}. `manage.py trust_init --online` makes it."
                ) from None
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise FolderUnsafe(
                    f"{folder} must belong to the user of this process and be closed to all others"
                    f" (chown {os.geteuid()}, chmod 700): whoever reads it can sign models."
                )
        for key in self.keys.glob("*.pem"):
            if stat.S_IMODE(key.stat().st_mode) & 0o077:
                raise FolderUnsafe(f"{key} can be read by others: chmod 600, and think of replacing it.")

    def lock(self) -> IO[str]:
        """Hold the folder for one process, until the returned file is closed. Raises FolderBusy."""
        file = (self.path / "lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise FolderBusy(f"another process uses {self.path}") from None
        return file

    def signers(self) -> dict[str, CryptoSigner]:
        """Return every key in the folder by its id."""
        loaded = [load_signer(path) for path in sorted(self.keys.glob("*.pem"))]
        return {signer.public_key.keyid: signer for signer in loaded}

    def read_denied(self) -> set[str]:
        """Return the models that must not be admitted."""
        try:
            return set(json.loads(self._denied.read_text()))
        except FileNotFoundError:
            return set()

    def write_denied(self, sha256s: Iterable[str]) -> None:
        """Replace the list of models that must not be admitted."""
        write_file(self._denied, json.dumps(sorted(sha256s)).encode())

    def deny(self, sha256: str) -> None:
        """Put a model on the list; the service and an operator's command may change it at the same moment."""
        with self._denied_alone():
            self.write_denied(self.read_denied() | {sha256})

    def allow(self, sha256: str) -> None:
        """Take a model off the list."""
        with self._denied_alone():
            self.write_denied(self.read_denied() - {sha256})

    @contextmanager
    def _denied_alone(self) -> Iterator[None]:
        with (self.path / "denied.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def clear_scratch(self) -> None:
        """Remove the copies of models that a service which was killed had begun to examine."""
        for folder in self.path.glob(f"{SCRATCH_PREFIX}*"):
            shutil.rmtree(folder)

    @property
    def is_stopped(self) -> bool:
        """Whether the fleet is stopped."""
        return self._stopped.exists()

    def stop(self) -> None:
        """Remember that the fleet is stopped."""
        write_file(self._stopped, b"")

    def resume(self) -> None:
        """Forget that the fleet was stopped; the service signs again from its next pass on."""
        self._stopped.unlink(missing_ok=True)


def read_bundle(path: Path) -> dict[str, SSlibKey]:
    """Return the admission service's public keys by role. Raises FolderUnsafe naming what is wrong with the file."""
    try:
        document = json.loads(path.read_text())
        return {role: read_public(document[role]) for role in ONLINE_ROLES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FolderUnsafe(f"{path} holds no public keys of an admission service: {error}") from None


def write_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file in one step and force it to disk."""
    draft = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
