"""Which network this computer is on: in a network namespace of the test's own with a router, and from kernel files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleetclient.local.home_network import LOOK_SECONDS, HomeNetwork

CLIENT = Path(__file__).parents[3] / "client"
ROUTER_MAC = "02:11:22:33:44:55"
LOOK = """
import json, sys
from fleetclient.local.home_network import HomeNetwork
now = [100.0]
home = HomeNetwork(clock=lambda: now[0], **json.loads(sys.argv[1]))
answers = []
for command in sys.stdin:
    now[0] += 10.0
    print(json.dumps(home.read()), flush=True)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass
class Lan:
    """A car and a router, each in a namespace, on one cable."""

    car: str
    router: str

    def plug_in(self, interface: str) -> None:
        """Give the car a second way out."""
        ip("-n", self.car, "link", "add", interface, "type", "veth", "peer", "name", "far0", "netns", self.router)
        for namespace, name in ((self.car, interface), (self.router, "far0")):
            ip("-n", namespace, "link", "set", name, "up")

    def watch(self, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ip", "netns", "exec", self.car, sys.executable, "-c", LOOK, json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(CLIENT)},
        )  # fmt: skip

    def look(self, **options: Any) -> tuple[bool | None, str]:
        with self.watch(**options) as watcher:
            answer = ask(watcher)
            watcher.communicate()
        return answer


def ask(watcher: subprocess.Popen[str]) -> tuple[bool | None, str]:
    assert watcher.stdin is not None
    assert watcher.stdout is not None
    watcher.stdin.write("\n")
    watcher.stdin.flush()
    allowed, name = json.loads(watcher.stdout.readline())
    return allowed, name


@pytest.fixture
def lan() -> Iterator[Lan]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and the command ip, to make network namespaces")
    mark = uuid.uuid4().hex[:8]
    made = Lan(car=f"car-{mark}", router=f"router-{mark}")
    try:
        ip("netns", "add", made.car)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
    try:
        ip("netns", "add", made.router)
        ip("-n", made.car, "link", "add", "eth0", "type", "veth", "peer", "name", "lan0", "netns", made.router)
        ip("-n", made.router, "link", "set", "lan0", "address", ROUTER_MAC)
        for namespace, interface, address in ((made.car, "eth0", "10.9.8.2/24"), (made.router, "lan0", "10.9.8.1/24")):
            ip("-n", namespace, "addr", "add", address, "dev", interface)
            ip("-n", namespace, "link", "set", interface, "up")
        ip("-n", made.car, "route", "add", "default", "via", "10.9.8.1")
        yield made
    finally:
        ip("netns", "del", made.car)
        subprocess.run(["ip", "netns", "del", made.router], check=False, capture_output=True)


def test_the_routers_hardware_address_is_learnt_and_allowed(lan):
    with lan.watch(allowed_gateways=[ROUTER_MAC.upper()]) as watcher:
        # Nothing was sent yet: nobody knows the router until the kernel was made to ask for it.
        answers = [ask(watcher)]
        while answers[-1][0] is None and len(answers) < 200:
            answers.append(ask(watcher))
        watcher.communicate()
    assert answers[0][0] is None
    assert answers[-1][0] is True
    assert ROUTER_MAC not in answers[-1][1]
    assert answers[-1][1].startswith("net-")


def test_another_router_is_not_allowed(lan):
    ip("-n", lan.car, "neigh", "replace", "10.9.8.1", "lladdr", ROUTER_MAC, "dev", "eth0", "nud", "permanent")
    assert lan.look(allowed_gateways=["02:00:00:00:00:01"])[0] is False
    assert lan.look(allowed_gateways=[ROUTER_MAC])[0] is True


def test_a_cable_is_allowed_where_the_owner_says_so(lan):
    assert lan.look(allowed_ssids=["Home"], allow_wired=True)[0] is True
    assert lan.look(allowed_ssids=["Home"])[0] is False


def test_nothing_is_known_where_nothing_is_configured(lan):
    assert lan.look()[0] is None


def test_a_car_without_a_route_is_on_no_allowed_network(lan):
    ip("-n", lan.car, "route", "del", "default")
    assert lan.look(allowed_gateways=[ROUTER_MAC], allow_wired=True) == (False, "")


def test_a_better_route_by_another_interface_is_noticed(lan):
    ip("-n", lan.car, "neigh", "replace", "10.9.8.1", "lladdr", ROUTER_MAC, "dev", "eth0", "nud", "permanent")
    with lan.watch(allowed_gateways=[ROUTER_MAC]) as watcher:
        assert ask(watcher)[0] is True
        ip("-n", lan.car, "route", "replace", "default", "via", "10.9.8.1", "metric", "100")
        ip("-n", lan.car, "route", "del", "default", "metric", "0")
        assert ask(watcher)[0] is True
        # A phone is plugged in and takes over.
        lan.plug_in("usb0")
        ip("-n", lan.car, "addr", "add", "172.20.10.2/28", "dev", "usb0")
        ip("-n", lan.car, "route", "add", "default", "via", "172.20.10.1", "metric", "50")
        ip("-n", lan.car, "neigh", "replace", "172.20.10.1", "lladdr", "02:00:00:00:00:99", "dev", "usb0")
        assert ask(watcher)[0] is False
        watcher.communicate()


def test_bytes_that_may_leave_by_another_way_for_ipv6_are_noticed(lan):
    ip("-n", lan.car, "neigh", "replace", "10.9.8.1", "lladdr", ROUTER_MAC, "dev", "eth0", "nud", "permanent")
    ip("-n", lan.car, "-6", "route", "add", "default", "dev", "eth0")
    assert lan.look(allowed_gateways=[ROUTER_MAC])[0] is True
    lan.plug_in("tun9")
    ip("-n", lan.car, "-6", "route", "replace", "default", "dev", "tun9", "metric", "1")
    assert lan.look(allowed_gateways=[ROUTER_MAC])[0] is False


# A kernel's files for a car on Wi-Fi, whose name only an adapter could tell.
ROUTE = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
ARP = "IP address       HW type     Flags       HW address            Mask     Device\n"


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    gateway = int.from_bytes(bytes([192, 168, 1, 1]), sys.byteorder)
    rows = [
        f"wlan0 00000000 {gateway:08X} 0003 0 0 600 00000000 0 0 0",
        "wlan0 0001A8C0 00000000 0001 0 0 600 00FFFFFF 0 0 0",
    ]
    (tmp_path / "net" / "route").write_text(ROUTE + "\n".join(rows).replace(" ", "\t") + "\n")
    row = "192.168.1.1      0x1         0x2         AA:BB:CC:00:11:22     *        wlan0\n"
    (tmp_path / "net" / "arp").write_text(ARP + row)
    wlan = tmp_path / "sys" / "wlan0"
    (wlan / "phy80211").mkdir(parents=True)
    (wlan / "type").write_text("1\n")
    (wlan / "uevent").write_text("DEVTYPE=wlan\nINTERFACE=wlan0\n")
    (wlan / "ifindex").write_text("3\n")
    return tmp_path


def make(kernel: Path, ssid: str | None, **options: Any) -> HomeNetwork:
    def find_ssid(interface: str, index: int) -> str | None:
        assert (interface, index) == ("wlan0", 3)
        return ssid

    clock = options.pop("clock", lambda: 0.0)
    options |= {"proc_net": kernel / "net", "sys_net": kernel / "sys"}
    return HomeNetwork(clock=clock, find_ssid=find_ssid, **options)


@pytest.mark.parametrize(
    ("ssid", "options", "is_allowed"),
    [
        ("Home", {"allowed_ssids": ["Home"]}, True),
        ("home", {"allowed_ssids": ["Home"]}, False),
        ("", {"allowed_ssids": ["Home"]}, False),
        (None, {"allowed_ssids": ["Home"]}, None),
        (None, {"allowed_ssids": ["Home"], "allowed_gateways": ["aa:bb:cc:00:11:22"]}, True),
        ("Cafe", {"allowed_ssids": ["Home"], "allowed_gateways": ["aa:bb:cc:00:11:23"]}, False),
        ("Home", {}, None),
        ("Home", {"allow_wired": True}, None),
        ("Cafe", {"allowed_ssids": ["Home"], "allow_wired": True}, False),
    ],
)
def test_a_wifi_is_allowed_by_its_name_or_its_router(kernel, ssid, options, is_allowed):
    assert make(kernel, ssid, **options).look().is_allowed is is_allowed


def test_a_network_is_named_by_a_hash_that_tells_networks_apart(kernel):
    names = {make(kernel, ssid, allowed_ssids=["Home"]).look().name for ssid in ("Home", "Cafe", "Home")}
    assert len(names) == 2
    assert not any("Home" in name or "Cafe" in name for name in names)


def test_a_mobile_modem_that_looks_like_a_cable_is_none(kernel):
    modem = kernel / "sys" / "wlan0"
    (modem / "phy80211").rmdir()
    (modem / "uevent").write_text("DEVTYPE=wwan\n")
    assert make(kernel, None, allowed_ssids=["Home"], allow_wired=True).look().is_allowed is False


def test_a_look_is_remembered_for_a_moment_and_no_longer(kernel):
    now = [50.0]
    home = make(kernel, "Home", allowed_ssids=["Home"], clock=lambda: now[0])
    assert home.read()[0] is True
    (kernel / "net" / "route").write_text(ROUTE)
    now[0] += LOOK_SECONDS / 2
    assert home.read()[0] is True
    now[0] += LOOK_SECONDS / 2
    assert home.read()[0] is False
