"""Files that survive a power cut: written beside their place, forced to disk, then renamed."""

from __future__ import annotations

import os
from pathlib import Path

from fleetclient.failpoints import fail_point


def write_durably(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `content` in one step; a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        fail_point("file_written", str(path))
        os.fsync(file.fileno())
    rename_durably(temporary, path)


def rename_durably(source: Path, target: Path) -> None:
    """Rename a file whose content is already on disk, and force the folder's entry to disk too."""
    fail_point("file_synced", str(target))
    source.replace(target)
    fail_point("file_renamed", str(target))
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk: new names, and names that are gone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_loosely(path: Path, content: bytes) -> None:
    """Replace `path` in one step without forcing it to disk: for what can be made again, such as the status page."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
