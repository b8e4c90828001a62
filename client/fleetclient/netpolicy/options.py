"""`[network]`: which networks may carry this car's bytes, how fast, how many, and by which way."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from fleetclient.errors import ClientError

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
NO_PROXY = "none"
SECONDS_MAX = 600.0
MBIT_PER_S_MIN = 0.01


class NetworkOptionsInvalid(ClientError):
    """The network section cannot be used; the text names the key and how to mend it."""

    code: ClassVar[str] = "network_options_invalid"


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """`[network]`: applies to all bytes, those of a sync included.

    `allowed_ssids`: names of Wi-Fi networks that may be used. `allowed_gateways`: hardware addresses of routers
    (aa:bb:cc:dd:ee:ff) that may be used, for networks without a name. With one of the two, nothing at all is sent
    anywhere else. `allow_wired`: a cable counts as allowed. `bandwidth_mbit_per_s`: megabits a second for all
    transfers together, both ways; 0: no cap. `daily_bytes_max`: bytes both ways a day; 0: as many as the rules allow.
    `egress_bytes_per_day_max`: bytes sent a day; the fleet's signed configuration may ask for less; 0: what it says.
    `proxy`: address of an HTTP proxy (http://user:password@host:port), empty for what HTTPS_PROXY, HTTP_PROXY and
    NO_PROXY say, "none" for none. `ca_file`: certificates to trust instead of the built-in ones, PEM; relative to the
    configuration's folder. `connect_seconds`, `read_seconds`: how long to wait for a connection, for the next bytes.
    """

    allowed_ssids: tuple[str, ...] = ()
    allowed_gateways: tuple[str, ...] = ()
    allow_wired: bool = False
    bandwidth_mbit_per_s: float = 20.0
    daily_bytes_max: int = 0
    egress_bytes_per_day_max: int = 1024**3
    proxy: str = ""
    ca_file: str = ""
    connect_seconds: float = 10.0
    read_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        for address in self.allowed_gateways:
            if not _MAC.fullmatch(address):
                raise NetworkOptionsInvalid(f"allowed_gateways: {address!r} is not like aa:bb:cc:dd:ee:ff")
        rate = self.bandwidth_mbit_per_s
        if math.isnan(rate) or (rate != 0 and not MBIT_PER_S_MIN <= rate <= 1e6):
            raise NetworkOptionsInvalid(f"bandwidth_mbit_per_s must be 0 or {MBIT_PER_S_MIN} to 1000000, not {rate}")
        for name in ("daily_bytes_max", "egress_bytes_per_day_max"):
            if getattr(self, name) < 0:
                raise NetworkOptionsInvalid(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("connect_seconds", "read_seconds"):
            if not 0.1 <= getattr(self, name) <= SECONDS_MAX:
                raise NetworkOptionsInvalid(f"{name} must be from 0.1 to {SECONDS_MAX:.0f}, not {getattr(self, name)}")
        _check_proxy(self.proxy)

    @property
    def is_restricted(self) -> bool:
        """Whether only some networks may be used."""
        return bool(self.allowed_ssids or self.allowed_gateways)

    @property
    def bytes_per_second(self) -> float:
        """The bandwidth cap; 0 for none."""
        return self.bandwidth_mbit_per_s * 1e6 / 8


def _check_proxy(proxy: str) -> None:
    if proxy in ("", NO_PROXY):
        return
    try:
        parts = urlsplit(proxy)
        has_port = parts.port is not None
    except ValueError:
        parts, has_port = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port or parts.path.strip("/"):
        # The value may hold a password: it is not repeated.
        raise NetworkOptionsInvalid("proxy must be like http://host:3128, empty or none; other kinds are not supported")
