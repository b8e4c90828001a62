"""Versions of the client: `1.2.3`, or `1.2.3b1` before it. Compared here, so that the launcher needs no library."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from fleetclient.errors import ClientError

_VERSION: Final = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:(a|b|rc)(\d{1,6}))?")
_PHASES: Final = {"a": 0, "b": 1, "rc": 2, None: 3}


class VersionInvalid(ClientError):
    """A version is not of the form that releases of this client have."""

    code: ClassVar[str] = "version_invalid"


def sort_key(version: str) -> tuple[int, int, int, int, int]:
    """Return what orders versions; raises VersionInvalid."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise VersionInvalid(f"{version!r} is not a version such as 1.2.3 or 1.2.3b1")
    major, minor, patch, phase, number = match.groups()
    return int(major), int(minor), int(patch), _PHASES[phase], int(number or 0)


def is_newer(version: str, than: str) -> bool:
    """Return True when `version` comes after `than`; anything comes after the empty one."""
    return not than or sort_key(version) > sort_key(than)
