"""Which user the services run as, and where that user can reach its data and binaries.

PostgreSQL refuses to run as root. Run by root, the services get an existing unprivileged user (`nobody`, or the one
that FLEET_SERVICE_USER names): no user is created, and no folder above our own is opened. Where that user cannot
pass, as in a project below a private home folder, data and binaries are kept below /var/tmp instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from fleetcompute.embedded.errors import EmbeddedError

REACHABLE_ROOT = Path("/var/tmp")  # noqa: S108  # folders below it are checked for their owner before use


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """An unprivileged user that root starts services as."""

    name: str
    uid: int
    gid: int

    @property
    def popen_options(self) -> dict[str, Any]:
        """Arguments of subprocess.Popen that drop to this user, supplementary groups included."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_use(self, path: Path) -> bool:
        """Tell by trying, as that user, whether it can enter a folder or execute a file."""
        test = ["/bin/sh", "-c", 'test -x "$1" && test -r "$1"', "sh", str(path)]
        try:
            return subprocess.run(test, cwd="/", check=False, **self.popen_options).returncode == 0
        except (PermissionError, subprocess.SubprocessError) as error:
            raise EmbeddedError(f"The services cannot be started as user {self.name}: {error}.") from None


def service_identity() -> Identity | None:
    """Return the user to drop to, or None when this process is not root and the services run as it does."""
    if os.geteuid() != 0:
        return None
    name = os.environ.get("FLEET_SERVICE_USER") or "nobody"
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise EmbeddedError(f"There is no user {name!r} to run the services as; set FLEET_SERVICE_USER.") from None
    if entry.pw_uid == 0:
        raise EmbeddedError("FLEET_SERVICE_USER must not be root: PostgreSQL refuses to run as root.")
    return Identity(name=name, uid=entry.pw_uid, gid=entry.pw_gid)


def data_folder(root: Path, name: str, identity: Identity | None) -> Path:
    """Return the folder for one service's data, made with mode 0700 and owned by the user that runs it.

    It is `root/name`, or a folder below /var/tmp named by a digest of `root` when that user cannot reach `root`.
    """
    place = root
    if identity is not None and not _can_pass(root, identity):
        place = _private_folder(f"fleetcompute-{_digest(str(root))}")
    folder = place / name
    folder.mkdir(mode=0o700, exist_ok=True)
    owner_uid = identity.uid if identity else os.geteuid()
    if folder.stat().st_uid == owner_uid:
        return folder
    if identity is None:
        raise EmbeddedError(f"{folder} belongs to another user; run as that user, or set FLEET_HOME to a new folder.")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, identity.uid, identity.gid, follow_symlinks=False)
    return folder


def reachable(program: Path, tree: Path, identity: Identity | None) -> Path:
    """Return the path of `program` as the services' user can execute it.

    Copies the whole `tree` around it below /var/tmp, once a version, when that user cannot reach the original.
    """
    if identity is None or identity.can_use(program):
        return program
    version = f"{tree}:{program.stat().st_mtime_ns}:{program.stat().st_size}"
    place = _private_folder(f"fleetcompute-binaries-{_digest(version)}")
    copy = place / tree.name
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=place))
        shutil.copytree(tree, draft / tree.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
        try:
            (draft / tree.name).rename(copy)
        except OSError:
            if not copy.exists():  # else another process copied at the same time, and its copy is as good
                raise
        shutil.rmtree(draft, ignore_errors=True)
    return copy / program.relative_to(tree)


def erase_data(root: Path) -> None:
    """Remove the folder below /var/tmp that `data_folder` may have made for this home; binaries' copies stay."""
    shutil.rmtree(REACHABLE_ROOT / f"fleetcompute-{_digest(str(root))}", ignore_errors=True)


def _can_pass(folder: Path, identity: Identity) -> bool:
    # Passing through a folder needs only its x bit; `folder/.` resolves only for those who have it on every level.
    test = ["/bin/sh", "-c", 'test -d "$1/."', "sh", str(folder)]
    return subprocess.run(test, cwd="/", check=False, **identity.popen_options).returncode == 0


def _private_folder(name: str) -> Path:
    folder = REACHABLE_ROOT / name
    folder.mkdir(mode=0o711, exist_ok=True)
    found = folder.lstat()
    # Anyone may create names in /var/tmp: a folder that is not ours must not receive data or supply programs.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise EmbeddedError(f"{folder} belongs to someone else; remove it, or set FLEET_HOME to a reachable folder.")
    return folder


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
