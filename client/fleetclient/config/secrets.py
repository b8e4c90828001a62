"""Secrets in the configuration: which values are secret, and that only their owner may read the file they stand in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fleetclient.config.errors import ConfigInvalid

HIDDEN = "(hidden)"
_SECRET_WORDS = ("password", "secret", "token", "passphrase", "credential")
_CREDENTIALS = re.compile(r"://[^/\s@]*:[^/\s@]*@")


def is_secret(key: str, value: Any) -> bool:
    """Return True for a value that is a secret itself, such as a password or an address that has one in it.

    `password_file` only says where one is.
    """
    name = key.rsplit(".", 1)[-1].lower()
    if not isinstance(value, str) or not value or name.endswith(("_file", "_path")):
        return False
    return any(word in name for word in _SECRET_WORDS) or _CREDENTIALS.search(value) is not None


def require_private(path: Path, *, because: str) -> None:
    """Raise ConfigInvalid when others than the owner can read a file (or write to it)."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise ConfigInvalid(f"{path} {because} and can be read by others (mode {mode:o}); run: chmod 600 {path}")
