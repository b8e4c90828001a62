"""Whether this computer's bytes leave by a network that the owner allows.

A name and a hardware address can be imitated by whoever is near; this guards data bills, not secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetclient.clock import boot_seconds
from fleetclient.local.routes import (
    PROC_NET,
    SYS_NET,
    Route,
    ask_for_gateway,
    find_gateway_mac,
    get_index,
    is_cable,
    is_wireless,
    list_default_routes,
)
from fleetclient.local.wifi import find_ssid

# A look costs a few small files; a network that has changed is noticed this late at most.
LOOK_SECONDS: Final = 2.0
ASK_SECONDS: Final = 30.0
_MACHINE_ID: Final = Path("/etc/machine-id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What one look has seen. `is_allowed` is None where nothing is configured or the kernel does not say.

    `name` stands for the network in logs and pages: a hash that means nothing on another computer, empty for none.
    """

    is_allowed: bool | None
    name: str = ""


class HomeNetwork:
    """Looks at the default routes, at most once in `LOOK_SECONDS`. Safe to use from several threads."""

    def __init__(
        self,
        *,
        allowed_ssids: Collection[str] = (),
        allowed_gateways: Collection[str] = (),
        allow_wired: bool = False,
        clock: Callable[[], float] = boot_seconds,
        proc_net: Path = PROC_NET,
        sys_net: Path = SYS_NET,
        find_ssid: Callable[[str, int], str | None] = find_ssid,
    ) -> None:
        self._ssids = frozenset(allowed_ssids)
        self._gateways = frozenset(address.lower() for address in allowed_gateways)
        self._allow_wired = allow_wired
        self._clock = clock
        self._proc_net, self._sys_net = proc_net, sys_net
        self._find_ssid = find_ssid
        self._salt = _get_salt()
        self._asked_at: float | None = None
        self._looked_at: float | None = None
        self._seen = Sighting(is_allowed=None)
        self._lock = threading.Lock()

    def read(self) -> tuple[bool | None, str]:
        """Return whether the network is allowed and the hash that stands for it, as `agent.facts` wants them."""
        seen = self.look()
        return seen.is_allowed, seen.name

    def look(self) -> Sighting:
        """Return what is seen now.

        Every default route must be allowed, that of IPv6 too: where one leads elsewhere, bytes may go that way.
        A computer without a route is on no allowed network.
        """
        now = self._clock()
        with self._lock:
            if self._looked_at is None or not 0 <= now - self._looked_at < LOOK_SECONDS:
                self._seen, self._looked_at = self._look(now), now
            return self._seen

    def _look(self, now: float) -> Sighting:
        routes = list_default_routes(self._proc_net)
        seen = [self._judge(route, now) for route in routes]
        if not routes:
            is_configured = bool(self._ssids or self._gateways)
            return Sighting(is_allowed=False if is_configured else None)
        # The first route is that of IPv4, where a router can be recognised; it may vouch for IPv6 on its interface.
        for index, route in enumerate(routes[1:], start=1):
            if route.interface == routes[0].interface and seen[0].is_allowed:
                seen[index] = seen[0]
        verdicts = {each.is_allowed for each in seen}
        is_allowed = False if False in verdicts else None if None in verdicts else True
        return Sighting(is_allowed=is_allowed, name=seen[0].name)

    def _judge(self, route: Route, now: float) -> Sighting:
        mac = self._find_mac(route, now)
        ssid = None
        if is_wireless(route.interface, self._sys_net):
            ssid = self._find_ssid(route.interface, get_index(route.interface, self._sys_net))
            is_unknown = bool(self._ssids) and ssid is None
        else:
            is_unknown = False
            if self._allow_wired and is_cable(route.interface, self._sys_net):
                return Sighting(is_allowed=True, name=self._hash(mac or route.interface))
        name = self._hash(ssid or mac or route.interface)
        if (ssid and ssid in self._ssids) or (mac and mac in self._gateways):
            return Sighting(is_allowed=True, name=name)
        is_unknown = is_unknown or (bool(self._gateways) and bool(route.gateway) and not mac)
        is_configured = bool(self._ssids or self._gateways)
        return Sighting(is_allowed=False if is_configured and not is_unknown else None, name=name)

    def _find_mac(self, route: Route, now: float) -> str:
        if not route.gateway or not self._gateways:
            return ""
        mac = find_gateway_mac(route, self._proc_net)
        if not mac and (self._asked_at is None or now - self._asked_at >= ASK_SECONDS):
            ask_for_gateway(route)
            self._asked_at = now
        return mac

    def _hash(self, name: str) -> str:
        return "net-" + hmac.new(self._salt, name.encode(), hashlib.sha256).hexdigest()[:8]


def _get_salt() -> bytes:
    """Return what makes a network's hash this computer's own: its identity, else new for each process."""
    try:
        return _MACHINE_ID.read_bytes().strip() or os.urandom(16)
    except OSError:
        return os.urandom(16)
