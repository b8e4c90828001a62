"""Loaded by Python itself in an agent under test: notes what was forced to disk, so that a power cut can be played.

For every `os.fsync` it copies the file (by inode) or the folder's entries into the folder that `POWER_CUT_NOTES` names.
A note is complete or not there, and is made after the real call: what is noted is on disk for certain.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

_fsync = os.fsync


def install(notes: Path) -> None:
    """Replace `os.fsync` in this process."""

    def fsync(descriptor: int) -> None:
        _fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            _note_folder(notes, path, found.st_ino)
        else:
            _write(notes / f"file-{found.st_ino}", path.read_bytes())

    os.fsync = fsync  # type: ignore[assignment]


def _note_folder(notes: Path, folder: Path, number: int) -> None:
    entries = {}
    for path in folder.iterdir():
        # Another thread may be deleting it at this moment: then it is not there.
        with suppress(FileNotFoundError):
            inode = path.stat().st_ino
            if path.is_file():
                _keep(notes, path, inode)
                if folder.name == "outputs" and path.suffix == ".safetensors":
                    # A whole output: the runner says that it forced its bytes before it was named.
                    _write(notes / f"file-{inode}", path.read_bytes())
                entries[path.name] = inode
    _write(notes / f"folder-{number}", json.dumps({"path": str(folder), "entries": entries}).encode())


def _keep(notes: Path, path: Path, inode: int) -> None:
    """Hold on to a file, so that its number does not become another's while its entry may come back."""
    # Agent and runner may both note it at this moment.
    with suppress(FileExistsError):
        os.link(path, notes / f"kept-{inode}")


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{threading.get_ident()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


if "POWER_CUT_NOTES" in os.environ:
    install(Path(os.environ["POWER_CUT_NOTES"]))
