"""The name of the Wi-Fi network that an interface is on."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import Final

from fleetclient.local.nl80211 import ask_ssid

_SIOCGIWESSID: Final = 0x8B1B
_NAME_BYTES_MAX: Final = 32
_INTERFACE_BYTES: Final = 16
# struct iwreq: the interface, then where to put the name, its length, and whether there is one.
_REQUEST: Final = struct.Struct(f"{_INTERFACE_BYTES}sPHH")


def find_ssid(interface: str, index: int) -> str | None:
    """Return the network's name, empty when on none, None when the kernel does not say.

    nl80211 is asked first. Where its sockets are forbidden, the older wireless extensions are, which need none of
    their own but are missing from newer kernels and adapters. Bytes that are no text are shown as such.
    """
    name = ask_ssid(index)
    if name is None:
        name = _ask_extensions(interface)
    return None if name is None else name.decode("utf-8", "backslashreplace")


def _ask_extensions(interface: str) -> bytes | None:
    buffer = array.array("B", bytes(_NAME_BYTES_MAX + 1))
    address, length = buffer.buffer_info()
    name = interface.encode()[: _INTERFACE_BYTES - 1]
    request = bytearray(_REQUEST.pack(name, address, length, 0))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            fcntl.ioctl(kernel, _SIOCGIWESSID, request)
    except OSError:
        return None
    _, _, length, is_on = _REQUEST.unpack(request)
    return buffer.tobytes()[: min(length, _NAME_BYTES_MAX)].rstrip(b"\0") if is_on else b""
