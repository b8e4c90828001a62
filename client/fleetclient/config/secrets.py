"""Secrets in and beside the configuration: which keys are secret, and files that only their owner may read."""

from __future__ import annotations

from pathlib import Path

from fleetclient.config.errors import ConfigInvalid

_SECRET_WORDS = ("password", "secret", "token", "passphrase", "credential")
SECRET_FILE_BYTES_MAX = 4096
HIDDEN = "(hidden)"


def is_secret_key(key: str) -> bool:
    """Return True for a key whose value is a secret itself; `password_file` only says where one is."""
    name = key.rsplit(".", 1)[-1].lower()
    return any(word in name for word in _SECRET_WORDS) and not name.endswith(("_file", "_path"))


def require_private(path: Path, *, because: str) -> None:
    """Raise ConfigInvalid when others than the owner can read a file (or write to it)."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise ConfigInvalid(f"{path} {because} and can be read by others (mode {mode:o}); run: chmod 600 {path}")


def read_secret_file(path: Path) -> str:
    """Return the secret in a file, without the line end; raises ConfigInvalid."""
    try:
        require_private(path, because="holds a secret")
        content = path.read_text("utf-8")[:SECRET_FILE_BYTES_MAX]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} cannot be read: {error}") from None
    return content.strip("\r\n")
