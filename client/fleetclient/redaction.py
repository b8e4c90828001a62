"""Keeps secrets, places and network names out of everything that is written down: logs, status, support bundles.

By the name of a field, by values that were declared hidden, and by the look of a text. Pure but for `Redactor.hide`.
"""

from __future__ import annotations

import hashlib
import os
import re

HIDDEN = "(hidden)"
TOKEN_CHARS_SHOWN = 8
# A shorter text would be found within ordinary words; as a field's value it is hidden whatever its length.
HIDDEN_TEXT_CHARS_MIN = 4

_SECRET_NAMES = re.compile(
    r"password|passphrase|secret|private|credential|device_code|access_token|authorization|api_key"
)
_PLACE_NAMES = re.compile(r"latitude|longitude|location|geofence|position|heading|address|(^|_)(lat|lon|lng)($|_)")
_NETWORK_NAMES = re.compile(r"ssid|network_name|wifi_name")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
# Two numbers of at least three decimals next to each other: a position as libraries and brokers print it.
_COORDINATES = re.compile(r"""-?\d{1,3}\.\d{3,}["']?[\s,;]+(?:["']?\w+["']?\s*[:=]\s*)?["']?-?\d{1,3}\.\d{3,}""")


class Redactor:
    """Redacts values; knows the texts that this car's owner wants hidden. Safe to use from several threads."""

    def __init__(self) -> None:
        # Names of networks are easily guessed from a bare hash; with a salt of this process they are not.
        self._salt = os.urandom(16)
        self._hidden: dict[str, str] = {}

    def hide(self, secret: str) -> None:
        """Replace a text wherever it turns up from now on."""
        if len(secret) >= HIDDEN_TEXT_CHARS_MIN:
            self._hidden = {**self._hidden, secret: HIDDEN}

    def hide_network(self, name: str) -> None:
        """Replace a network's name by a hash wherever it turns up from now on."""
        if len(name) >= HIDDEN_TEXT_CHARS_MIN:
            self._hidden = {**self._hidden, name: self.hash_network(name)}

    def hash_network(self, name: str) -> str:
        """Return what stands for a network's name: the same within one process, useless outside."""
        return "ssid:" + hashlib.sha256(self._salt + name.encode()).hexdigest()[:8]

    def redact(self, value: object, *, name: str = "") -> object:
        """Return a value that may be written down under a name; containers are looked through."""
        lowered = name.lower()
        if value is None or isinstance(value, bool) or value == "":
            return value
        if _is_hidden(lowered):
            return HIDDEN
        if isinstance(value, dict):
            return {str(key): self.redact(each, name=str(key)) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.redact(each, name=name) for each in value]
        return value if isinstance(value, int | float) else self._redact_text(str(value), lowered)

    def _redact_text(self, text: str, name: str) -> str:
        if _NETWORK_NAMES.search(name):
            return self.hash_network(text) if text else text
        if name == "token":
            return text[:TOKEN_CHARS_SHOWN]
        for secret, shown in self._hidden.items():
            text = text.replace(secret, shown)
        return _COORDINATES.sub(HIDDEN, _CREDENTIALS.sub(f"{HIDDEN}@", text))


def _is_hidden(name: str) -> bool:
    is_secret = _SECRET_NAMES.search(name) is not None and not name.endswith(("_file", "_path"))
    return is_secret or _PLACE_NAMES.search(name) is not None
