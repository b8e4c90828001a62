"""Reading members of a JSON document strictly: the right type, within its range, or `MalformedMessage` naming it.

Members that this version does not know are ignored, so that a newer server can add some.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from fleetclient.errors import ClientError

Document = dict[str, Any]
T = TypeVar("T")

_HEX = frozenset(string.hexdigits.lower())
_TOKEN = frozenset(string.ascii_letters + string.digits + "-_")
TOKEN_CHARS = 22


class MalformedMessage(ClientError):
    """A message of the wire cannot be read; the text names the member."""

    code: ClassVar[str] = "malformed_message"


def as_document(value: object, where: str) -> Document:
    """Return a JSON object as it is, or refuse."""
    if not isinstance(value, dict):
        raise MalformedMessage(f"{where} is not an object")
    return value


def text(document: Document, name: str) -> str:
    """Return a string member."""
    value = document.get(name)
    if not isinstance(value, str):
        raise MalformedMessage(f"{name} is not a string")
    return value


def hex_text(document: Document, name: str, chars: int) -> str:
    """Return a member of exactly `chars` lower-case hexadecimal digits."""
    value = text(document, name)
    if len(value) != chars or not _HEX.issuperset(value):
        raise MalformedMessage(f"{name} is not {chars} hexadecimal digits")
    return value


def token_text(value: object, where: str) -> str:
    """Return an opaque replica token: 22 characters of base64url. They also name files, so nothing else may pass."""
    if not isinstance(value, str) or len(value) != TOKEN_CHARS or not _TOKEN.issuperset(value):
        raise MalformedMessage(f"{where} is not a replica token")
    return value


def whole(document: Document, name: str, *, low: int = 0, high: int = 2**53) -> int:
    """Return an integer member within `[low, high]`."""
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise MalformedMessage(f"{name} is not an integer from {low} to {high}")
    return value


def number(document: Document, name: str, *, low: float = 0.0, high: float = 1e9) -> float:
    """Return a finite number within `[low, high]`."""
    value = document.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise MalformedMessage(f"{name} is not a number from {low} to {high}")
    return float(value)


def items(document: Document, name: str, read: Callable[[Any], T]) -> tuple[T, ...]:
    """Return a list member with every item read by `read`."""
    value = document.get(name)
    if not isinstance(value, list):
        raise MalformedMessage(f"{name} is not a list")
    return tuple(read(item) for item in value)
