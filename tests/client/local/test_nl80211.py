"""Generic netlink with the real kernel, and the answers of one with Wi-Fi as bytes."""

from __future__ import annotations

import socket
import struct

import pytest

from fleetclient.local.nl80211 import ask_family, ask_ssid, build_request, read_answer
from fleetclient.local.wifi import find_ssid

NEW_INTERFACE = 7


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def answer(*attributes: bytes, kind: int = 0x1C) -> bytes:
    body = b"".join(attributes)
    return struct.pack("=IHHIIBBH", 20 + len(body), kind, 0, 1, 4711, NEW_INTERFACE, 1, 0) + body


def test_the_kernel_knows_the_family_of_families_and_no_other_of_that_name():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as kernel:
        kernel.bind((0, 0))
        assert ask_family(kernel, "nlctrl") == 16
        assert ask_family(kernel, "no-such-family") is None


def test_an_interface_that_is_not_there_has_no_name_that_anybody_could_say():
    assert ask_ssid(2**31 - 1) is None
    assert find_ssid("nothing0", 2**31 - 1) is None


def test_a_cable_has_no_name_that_anybody_could_say():
    assert find_ssid("lo", 1) is None


def test_the_name_is_found_among_the_attributes_of_an_answer():
    message = answer(
        attribute(3, struct.pack("=I", 4)), attribute(4, b"wlan0\0"), attribute(52, "Nhà của Ửng".encode()),
        attribute(0x8000 | 99, b"\1\2\3"),
    )  # fmt: skip
    assert (read_answer(message) or {})[52].decode() == "Nhà của Ửng"


def test_an_interface_on_no_network_has_an_answer_without_a_name():
    assert read_answer(answer(attribute(3, struct.pack("=I", 4)))) == {3: struct.pack("=I", 4)}


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\0" * 19, answer(kind=2), answer(attribute(52, b"home"))[:-4],
        struct.pack("=IHHIIBBH", 8, 0x1C, 0, 1, 0, 7, 1, 0),
    ],
)  # fmt: skip
def test_an_error_or_half_an_answer_is_none(message):
    assert read_answer(message) is None


@pytest.mark.parametrize("broken", [struct.pack("=HH", 0, 52), struct.pack("=HH", 200, 52) + b"home"])
def test_reading_ends_at_an_attribute_that_lies_about_its_length(broken):
    assert read_answer(answer(attribute(1, b"\1\0\0\0"), broken)) == {1: b"\1\0\0\0"}


def test_a_request_says_how_long_it_is():
    request = build_request(0x1C, 5, 3, struct.pack("=I", 4))
    assert len(request) == struct.unpack_from("=I", request)[0] == 28
    assert read_answer(request) == {3: struct.pack("=I", 4)}
