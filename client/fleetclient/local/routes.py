"""By which interface and router this computer's bytes leave, from /proc/net and /sys/class/net."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC_NET: Final = Path("/proc/net")
SYS_NET: Final = Path("/sys/class/net")
_UP, _REJECT, _DEFAULT_V6 = 0x1, 0x200, "0" * 32
_ARP_COMPLETE: Final = 0x2
_ETHERNET: Final = 1
_DISCARD_PORT: Final = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A default route. `gateway` is the router's IPv4 address, empty for a link that has none and for IPv6."""

    interface: str
    gateway: str


def list_default_routes(proc_net: Path = PROC_NET) -> list[Route]:
    """Return the best default route of IPv4 and of IPv6: by these, bytes leave for the internet."""
    return [route for route in (_best_v4(proc_net), _best_v6(proc_net)) if route is not None]


def find_gateway_mac(route: Route, proc_net: Path = PROC_NET) -> str:
    """Return the router's hardware address in lower case; empty where the kernel has not learnt it."""
    for row in _rows(proc_net / "arp")[1:]:
        if len(row) >= 6 and row[0] == route.gateway and row[5] == route.interface and int(row[2], 16) & _ARP_COMPLETE:
            return row[3].lower()
    return ""


def ask_for_gateway(route: Route) -> None:
    """Make the kernel ask for the router's hardware address: an empty datagram that goes no further than the router.

    Without it a car that sends nothing before it knows the router would never learn who the router is.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.sendto(b"", (route.gateway, _DISCARD_PORT))
        except OSError:
            # No route any more, or a full queue: the next look asks again.
            return


def is_wireless(interface: str, sys_net: Path = SYS_NET) -> bool:
    """Return whether an interface is a Wi-Fi adapter."""
    folder = sys_net / interface
    return (folder / "phy80211").exists() or (folder / "wireless").exists()


def is_cable(interface: str, sys_net: Path = SYS_NET) -> bool:
    """Return whether an interface is Ethernet of no further kind: no Wi-Fi, mobile modem, bridge or tunnel."""
    folder = sys_net / interface
    is_ethernet = _read(folder / "type") == str(_ETHERNET)
    has_kind = any(line.startswith("DEVTYPE=") for line in _read(folder / "uevent").splitlines())
    return is_ethernet and not has_kind and not is_wireless(interface, sys_net)


def get_index(interface: str, sys_net: Path = SYS_NET) -> int:
    """Return the kernel's number of an interface, 0 where it is gone."""
    text = _read(sys_net / interface / "ifindex")
    return int(text) if text.isdigit() else 0


def _best_v4(proc_net: Path) -> Route | None:
    best: tuple[int, Route] | None = None
    for row in _rows(proc_net / "route")[1:]:
        if len(row) < 8 or row[1] != "00000000" or row[7] != "00000000":
            continue
        flags, metric = int(row[3], 16), int(row[6])
        if flags & _UP and not flags & _REJECT and (best is None or metric < best[0]):
            best = (metric, Route(interface=row[0], gateway=_say_v4(row[2])))
    return None if best is None else best[1]


def _say_v4(hexadecimal: str) -> str:
    """Return the address of a number as the kernel prints it, in this computer's byte order; empty for 0.0.0.0."""
    number = int(hexadecimal, 16)
    return str(ipaddress.IPv4Address(struct.pack("=I", number))) if number else ""


def _best_v6(proc_net: Path) -> Route | None:
    best: tuple[int, Route] | None = None
    for row in _rows(proc_net / "ipv6_route"):
        if len(row) < 10 or row[0] != _DEFAULT_V6 or row[1] != "00" or row[9] == "lo":
            continue
        metric, flags = int(row[5], 16), int(row[8], 16)
        if flags & _UP and not flags & _REJECT and (best is None or metric < best[0]):
            best = (metric, Route(interface=row[9], gateway=""))
    return None if best is None else best[1]


def _rows(path: Path) -> list[list[str]]:
    return [line.split() for line in _read(path).splitlines()]


def _read(path: Path) -> str:
    """Return a kernel file's text, empty where it is not there: an interface may go while it is looked at."""
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
