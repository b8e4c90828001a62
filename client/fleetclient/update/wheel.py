"""Unpacks a release: a pure-Python wheel whose bytes the fleet's offline keys have signed, checked once more here.

Runs as `python -m fleetclient.update.wheel WHEEL VERSIONS VERSION`, a child of the agent that is gone afterwards, and
prints one JSON object. Only `fleetclient/` and its metadata may be in the wheel; every file must have the hash that
RECORD gives it; what it requires must be installed. The folder appears whole, by a rename, or not at all.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
import stat
import sys
import zipfile
from collections.abc import Sequence
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

from fleetclient.errors import ClientError
from fleetclient.failpoints import fail_point
from fleetclient.update.requirements import why_unsatisfied

DISTRIBUTION: Final = "fleetcompute-client"
PACKAGE: Final = "fleetclient"
BYTES_MAX: Final = 64 * 1024**2
FILES_MAX: Final = 5_000
INCOMING: Final = ".incoming"
_PURE_WHEEL: Final = re.compile(r"Root-Is-Purelib: true\s*$", re.MULTILINE)


class WheelRefused(ClientError):
    """A release cannot be installed here; the text says why."""

    code: ClassVar[str] = "wheel_refused"


def unpack(wheel: Path, *, versions: Path, version: str) -> Path:
    """Check a wheel and unpack it as `versions/<version>`; return that folder. Raises WheelRefused.

    What an interrupted earlier attempt left is removed first.
    """
    incoming = versions / INCOMING
    shutil.rmtree(incoming, ignore_errors=True)
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _list_members(archive)
            metadata = _metadata_folder(members, version)
            _check_metadata(archive, metadata, version)
            hashes = _read_record(archive, f"{metadata}/RECORD")
            incoming.mkdir(mode=0o700, parents=True)
            for member in members:
                _write(incoming / member.filename, _read_checked(archive, member, hashes, metadata))
                fail_point("update_file_unpacked")
    except (zipfile.BadZipFile, UnicodeDecodeError, RuntimeError, NotImplementedError, EOFError) as error:
        raise WheelRefused(f"the wheel is damaged: {error}") from None
    _force_folders(incoming)
    fail_point("update_unpacked")
    target = versions / version
    shutil.rmtree(target, ignore_errors=True)
    incoming.rename(target)
    _force_folder(versions)
    return target


def _list_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > FILES_MAX or sum(member.file_size for member in members) > BYTES_MAX:
        raise WheelRefused(f"the wheel holds more than {FILES_MAX} files or {BYTES_MAX} bytes")
    if len({member.filename for member in members}) != len(members):
        raise WheelRefused("the wheel holds two files of one name")
    for member in members:
        _check_name(member)
    return members


def _check_name(member: zipfile.ZipInfo) -> None:
    name, parts = member.filename, PurePosixPath(member.filename).parts
    mode = member.external_attr >> 16
    is_plain = stat.S_IFMT(mode) in (0, stat.S_IFREG)
    is_clean = "\\" not in name and "\0" not in name and str(PurePosixPath(name)) == name
    if not is_plain or not is_clean or name.startswith("/") or ".." in parts or len(parts) < 2:
        raise WheelRefused(f"the wheel holds {name!r}, which is no plain file in a folder of its own")
    if parts[0] != PACKAGE and not parts[0].endswith(".dist-info"):
        raise WheelRefused(f"the wheel holds {name!r}, which is not part of {PACKAGE}")
    if Path(name).suffix in (".so", ".pyd", ".dll", ".pth"):
        raise WheelRefused(f"the wheel holds {name!r}: only Python and data are accepted")


def _metadata_folder(members: Sequence[zipfile.ZipInfo], version: str) -> str:
    folders = {PurePosixPath(member.filename).parts[0] for member in members} - {PACKAGE}
    wanted = f"{DISTRIBUTION.replace('-', '_')}-{version}.dist-info"
    if folders != {wanted}:
        raise WheelRefused(f"the wheel's metadata is {', '.join(sorted(folders)) or 'missing'}, not {wanted}")
    return wanted


def _check_metadata(archive: zipfile.ZipFile, folder: str, version: str) -> None:
    try:
        text = archive.read(f"{folder}/METADATA").decode()
        layout = archive.read(f"{folder}/WHEEL").decode()
    except KeyError as error:
        raise WheelRefused(f"the wheel lacks a file: {error}") from None
    if not _PURE_WHEEL.search(layout):
        raise WheelRefused("the wheel is not pure Python")
    metadata = HeaderParser().parsestr(text)
    name = (metadata["Name"] or "").lower().replace("_", "-")
    if (name, metadata["Version"]) != (DISTRIBUTION, version):
        raise WheelRefused(f"the wheel is {metadata['Name']} {metadata['Version']}, not {DISTRIBUTION} {version}")
    problems = why_unsatisfied(metadata.get_all("Requires-Dist", []), metadata["Requires-Python"] or "")
    if problems:
        raise WheelRefused(f"version {version} needs what is not installed here: {'; '.join(problems)}")


def _read_record(archive: zipfile.ZipFile, name: str) -> dict[str, str]:
    try:
        rows = list(csv.reader(io.StringIO(archive.read(name).decode())))
    except KeyError:
        raise WheelRefused("the wheel has no RECORD") from None
    return {row[0]: row[1] for row in rows if len(row) == 3}


def _read_checked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, hashes: dict[str, str], folder: str) -> bytes:
    content = archive.read(member)
    if member.filename == f"{folder}/RECORD":
        return content
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    if hashes.get(member.filename) != f"sha256={digest}":
        raise WheelRefused(f"{member.filename} is not the file that the wheel's RECORD names")
    return content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _force_folders(top: Path) -> None:
    for folder in (top, *(path for path in top.rglob("*") if path.is_dir())):
        _force_folder(folder)


def _force_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _main(arguments: Sequence[str]) -> int:
    wheel, versions, version = arguments
    try:
        unpack(Path(wheel), versions=Path(versions), version=version)
    except (WheelRefused, OSError) as error:
        sys.stdout.write(json.dumps({"refused": str(error), "is_final": isinstance(error, WheelRefused)}))
        return 1
    sys.stdout.write(json.dumps({"refused": ""}))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
