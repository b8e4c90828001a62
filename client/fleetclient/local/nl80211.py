"""Asks the kernel for the name of the Wi-Fi network an interface is on: generic netlink, family nl80211.

Numbers are those of linux/netlink.h, linux/genetlink.h and linux/nl80211.h, which never change.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final

_NETLINK_GENERIC: Final = 16
_NLMSG_ERROR, _NLM_F_REQUEST = 2, 1
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
_GET_INTERFACE, _ATTR_IFINDEX, _ATTR_SSID = 5, 3, 52
_TYPE_MASK: Final = 0x3FFF
_HEADER: Final = struct.Struct("=IHHIIBBH")  # length, type, flags, sequence, port; then command, version, reserved
_ATTRIBUTE: Final = struct.Struct("=HH")
_ANSWER_BYTES_MAX: Final = 65_536
# The kernel answers at once; this guards against a kernel that does not.
_WAIT_SECONDS: Final = 0.5


def ask_ssid(index: int) -> bytes | None:
    """Return the name of the network that interface `index` is on, empty when on none, None when nobody can say."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as kernel:
            kernel.settimeout(_WAIT_SECONDS)
            kernel.bind((0, 0))
            family = ask_family(kernel, "nl80211")
            if family is None:
                return None
            request = build_request(family, _GET_INTERFACE, _ATTR_IFINDEX, struct.pack("=I", index))
            answer = _ask(kernel, request)
    except OSError:
        # No such socket in this sandbox, or no such interface.
        return None
    return None if answer is None else answer.get(_ATTR_SSID, b"")


def ask_family(kernel: socket.socket, name: str) -> int | None:
    """Return the number of a netlink family in this kernel, None where it has none of that name."""
    request = build_request(_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0")
    answer = _ask(kernel, request)
    if answer is None or _CTRL_ATTR_FAMILY_ID not in answer:
        return None
    return int.from_bytes(answer[_CTRL_ATTR_FAMILY_ID][:2], "little" if struct.pack("=H", 1)[0] else "big")


def build_request(family: int, command: int, attribute: int, value: bytes) -> bytes:
    """Return a message with one attribute."""
    padded = value + bytes(-len(value) % 4)
    body = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), attribute) + padded
    return _HEADER.pack(_HEADER.size + len(body), family, _NLM_F_REQUEST, 1, 0, command, 1, 0) + body


def read_answer(message: bytes) -> dict[int, bytes] | None:
    """Return the attributes of an answer by their numbers; None for an error or what is no whole answer."""
    if len(message) < _HEADER.size:
        return None
    length, kind = struct.unpack_from("=IH", message)
    if kind == _NLMSG_ERROR or not _HEADER.size <= length <= len(message):
        return None
    return dict(_attributes(message[_HEADER.size : length]))


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    while len(body) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body)
        if not _ATTRIBUTE.size <= length <= len(body):
            return
        yield kind & _TYPE_MASK, body[_ATTRIBUTE.size : length]
        body = body[length + (-length % 4) :]


def _ask(kernel: socket.socket, request: bytes) -> dict[int, bytes] | None:
    kernel.send(request)
    return read_answer(kernel.recv(_ANSWER_BYTES_MAX))
