"""Secrets of a single-machine installation, made once and kept below FLEET_HOME with mode 0600.

Imports nothing but the standard library: the settings and the supervisor both use it.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path


def read_or_make_key(path: Path, *, key_bytes: int) -> str:
    """Return the hexadecimal key kept in `path`, making a random one of `key_bytes` bytes first if there is none.

    Safe when several processes ask at once: the file appears whole (link of a finished temporary file), and the
    first one wins. Raises PermissionError when other users of the machine could read an existing file.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(key_bytes) + "\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first: its key is the key
        finally:
            draft.unlink()
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PermissionError(f"{path} can be read by other users; run: chmod 600 {path}")
    return path.read_text().strip()
