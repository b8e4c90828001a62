"""`[trust]`: whose signatures this car believes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from fleetclient.errors import ClientError

MODES = ("tuf", "off")
REFRESH_SECONDS_MIN = 1.0
# Metadata that is looked at less often than this could expire between two looks.
REFRESH_SECONDS_MAX = 6 * 3600.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


class TrustOptionsInvalid(ClientError):
    """The trust section cannot be used; the text names the key and how to mend it."""

    code: ClassVar[str] = "trust_options_invalid"


@dataclass(frozen=True, kw_only=True)
class TrustOptions:
    """`[trust]`: whose signatures this car believes, beside the server's own.

    `mode`: tuf (a model runs only if the fleet's repository, whose root keys are offline, lists it), or off, which is
    allowed only in a simulation whose server is on this machine. `refresh_seconds`: time between two looks at the
    repository; the fleet's signed configuration may shorten it, never lengthen it. `root_file`: the fleet's first
    root metadata (1.root.json), got from the operator by another way than the server; without it the first one that
    the server shows is kept, and its fingerprint displayed. `root_sha256`: the fingerprint that the first root must
    have, 64 hexadecimal digits; empty for any.
    """

    mode: str = "tuf"
    refresh_seconds: float = 900.0
    root_file: str = ""
    root_sha256: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        if self.mode not in MODES:
            raise TrustOptionsInvalid(f"mode must be one of {', '.join(MODES)}, not {self.mode!r}")
        if not REFRESH_SECONDS_MIN <= self.refresh_seconds <= REFRESH_SECONDS_MAX:
            limits = f"from {REFRESH_SECONDS_MIN:.0f} to {REFRESH_SECONDS_MAX:.0f}"
            raise TrustOptionsInvalid(f"refresh_seconds must be {limits}, not {self.refresh_seconds}")
        if self.root_sha256 and not _SHA256.fullmatch(self.root_sha256):
            raise TrustOptionsInvalid("root_sha256 must be 64 hexadecimal digits in lower case, or empty")


def check_trust(options: TrustOptions, *, server: str, is_simulation: bool) -> None:
    """Refuse to switch trust off on a real car: raises TrustOptionsInvalid.

    `is_simulation` says whether the configuration has a [simulation] section.
    """
    if options.mode == "off" and not (is_simulation and _is_loopback(server)):
        raise TrustOptionsInvalid(
            "mode = off needs a [simulation] section and a server on this machine (127.0.0.1); remove the key"
        )


def _is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
