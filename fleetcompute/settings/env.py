"""The only reader of the environment: each function gives one checked value or one sentence that says what is wrong.

What is not in the environment comes from the embedded services that run on this machine (`endpoints.json`, written
by the supervisor) or, for keys, from files below FLEET_HOME that are made on first use.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from fleetcompute.settings.engine import EnginePolicy, read_policy
from fleetcompute.settings.keyfiles import read_or_make_key

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TOKEN_KEY_BYTES = 16
DIRECTOR_SEED_BYTES = 32
SECRET_KEY_BYTES = 32
BLOB_STORE_SCHEMES = ("file", "s3")


def text(name: str) -> str | None:
    """Return the variable without surrounding blanks, or None when it is unset or empty."""
    return os.environ.get(name, "").strip() or None


def required_text(name: str, *, purpose: str) -> str:
    """Return the variable; raise ImproperlyConfigured naming it and its `purpose` when it is missing."""
    value = text(name)
    if value is None:
        raise ImproperlyConfigured(f"{name} must be set: {purpose}.")
    return value


def flag(name: str, *, default: bool) -> bool:
    """Return a yes/no variable; accepts 1, 0, true, false, yes, no, on, off in any case."""
    value = text(name)
    if value is None:
        return default
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if value.lower() not in known:
        raise ImproperlyConfigured(f"{name} must be yes or no, not {value!r}.")
    return known[value.lower()]


def integer(name: str, *, default: int) -> int:
    """Return a whole-number variable that is zero or more."""
    value = text(name)
    if value is None:
        return default
    if not value.isdecimal():
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.")
    return int(value)


def comma_list(name: str) -> list[str]:
    """Return the items of a comma-separated variable, blanks removed."""
    return [item.strip() for item in (text(name) or "").split(",") if item.strip()]


def fleet_home() -> Path:
    """Return the folder that holds keys, embedded services and blobs: FLEET_HOME, else `.fleet` in the project."""
    return Path(text("FLEET_HOME") or PROJECT_ROOT / ".fleet").expanduser().absolute()


def database_url() -> str | None:
    """Return DATABASE_URL, else the running embedded PostgreSQL's, else None."""
    url = text("DATABASE_URL") or _endpoint("database_url")
    if url is not None and urlsplit(url).scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured("DATABASE_URL must start with postgresql:// as only PostgreSQL is supported.")
    return url


def broker_url() -> str | None:
    """Return CELERY_BROKER_URL, else the running embedded Valkey's, else None."""
    return text("CELERY_BROKER_URL") or _endpoint("broker_url")


def cache_url() -> str | None:
    """Return CACHE_URL, else the running embedded Valkey's, else None (each process then has a cache of its own)."""
    return text("CACHE_URL") or _endpoint("cache_url")


def blob_store_url() -> str:
    """Return where blobs are kept, `file:///folder` or `s3://bucket/prefix`; `blobs` in FLEET_HOME by default."""
    url = text("BLOB_STORE_URL") or (fleet_home() / "blobs").as_uri()
    parts = urlsplit(url)
    if parts.scheme not in BLOB_STORE_SCHEMES:
        raise ImproperlyConfigured(f"BLOB_STORE_URL must be file:///folder or s3://bucket/prefix, not {url!r}.")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ImproperlyConfigured(f"BLOB_STORE_URL needs three slashes and a full path (file:///folder), not {url!r}.")
    if parts.scheme == "s3" and not parts.netloc:
        raise ImproperlyConfigured(f"BLOB_STORE_URL names no bucket: {url!r}.")
    return url


def secret_key() -> str:
    """Return Django's signing key: FLEET_SECRET_KEY, else the one kept in FLEET_HOME."""
    return text("FLEET_SECRET_KEY") or _kept_key("secret_key", key_bytes=SECRET_KEY_BYTES)


def token_key() -> bytes:
    """Return the AES key (16 bytes) that seals replica tokens: FLEET_TOKEN_KEY in hex, else the kept one."""
    value = text("FLEET_TOKEN_KEY") or _kept_key("token_key", key_bytes=TOKEN_KEY_BYTES)
    return _key_from_hex("FLEET_TOKEN_KEY", value, key_bytes=TOKEN_KEY_BYTES)


def director_key() -> bytes:
    """Return the Ed25519 seed (32 bytes) that signs answers to cars: FLEET_DIRECTOR_KEY is the hex, or a path to it."""
    value = text("FLEET_DIRECTOR_KEY")
    if value is None:
        value = _kept_key("director_key", key_bytes=DIRECTOR_SEED_BYTES)
    elif "/" in value:
        try:
            value = Path(value).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(f"FLEET_DIRECTOR_KEY names a file that cannot be read: {error}.") from None
    return _key_from_hex("FLEET_DIRECTOR_KEY", value, key_bytes=DIRECTOR_SEED_BYTES)


def admission_folder() -> Path:
    """Return the folder of the admission service: FLEET_ADMISSION_FOLDER, else `admission` in FLEET_HOME."""
    return Path(text("FLEET_ADMISSION_FOLDER") or fleet_home() / "admission").expanduser().absolute()


def anchor_command() -> tuple[str, ...]:
    """Return how the vehicle client is started: FLEET_ANCHOR_COMMAND as a shell would read it, else this Python's."""
    value = text("FLEET_ANCHOR_COMMAND")
    if value is None:
        return (sys.executable, "-m", "fleetclient")
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"FLEET_ANCHOR_COMMAND cannot be read: {error}.") from None
    return tuple(words)


def anchor_folder() -> Path:
    """Return the folder of an anchor on this machine: FLEET_ANCHOR_FOLDER, else `anchor` in FLEET_HOME."""
    return Path(text("FLEET_ANCHOR_FOLDER") or fleet_home() / "anchor").expanduser().absolute()


def currency() -> str:
    """Return the ISO 4217 code of the money that a credit stands for, empty where credits have no price."""
    code = text("FLEET_CURRENCY") or ""
    if code and not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
        raise ImproperlyConfigured(f"FLEET_CURRENCY must be three capital letters such as EUR, not {code!r}.")
    return code


def engine_policy() -> EnginePolicy:
    """Return the engine's policy with the FLEET_… overrides of the environment."""
    return read_policy(os.environ)


def _kept_key(name: str, *, key_bytes: int) -> str:
    try:
        return read_or_make_key(fleet_home() / "keys" / name, key_bytes=key_bytes)
    except OSError as error:
        raise ImproperlyConfigured(f"The key {name} below FLEET_HOME cannot be used: {error}.") from None


def _key_from_hex(name: str, value: str, *, key_bytes: int) -> bytes:
    try:
        key = bytes.fromhex(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be hexadecimal digits.") from None
    if len(key) != key_bytes:
        raise ImproperlyConfigured(f"{name} must be {key_bytes} bytes ({2 * key_bytes} hex digits), not {len(key)}.")
    return key


def _endpoint(name: str) -> str | None:
    """Read one address that the supervisor wrote; None unless that supervisor still runs.

    The file outlives a supervisor that was killed, hence the look at its process id.
    """
    try:
        endpoints = json.loads((fleet_home() / "run" / "endpoints.json").read_text())
    except (OSError, ValueError):
        return None
    try:
        os.kill(endpoints["supervisor_pid"], 0)
    except PermissionError:
        pass  # it runs, under another user
    except ProcessLookupError:
        return None
    value = endpoints.get(name)
    return value if isinstance(value, str) else None
