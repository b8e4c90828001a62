"""Transfers that are cut off, by whatever: they go on where they stood, through a proxy and under the cap."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetclient.cache import ModelCache
from fleetclient.identity import Identity
from fleetclient.netpolicy.budget import BudgetExhausted
from fleetclient.network import Network
from fleetclient.transfers import fetch_model
from fleetclient.usage import UsageMeter
from fleetclient.wire import ModelRef
from tests.client.fake_fleet import FakeFleet
from tests.client.network.small_proxy import SmallProxy
from tests.client.support import add_units, wait_until

SIZE = 2_000_000


@pytest.fixture
def proxy() -> Iterator[SmallProxy]:
    made = SmallProxy()
    yield made
    made.close()


@pytest.fixture
def model(fleet: FakeFleet) -> ModelRef:
    content = os.urandom(SIZE)
    add_units(fleet, 1)
    unit = fleet.units[0]
    unit.state = "leased"
    unit.contract["model"] = {"sha256": fleet.add_blob(content), "bytes": SIZE}
    return ModelRef(**unit.contract["model"])


def asked_ranges(fleet: FakeFleet) -> list[int]:
    return [int(headers["range"].split("=")[1].split("-")[0]) for _, _, headers in fleet.requests if "range" in headers]


def test_a_download_that_used_up_the_day_goes_on_the_next_day(
    make_network: Callable[..., Network], fleet: FakeFleet, model: ModelRef, tmp_path: Path
) -> None:
    day = [1_795_492_800.0]
    meter = UsageMeter(tmp_path / "usage.json", wall=lambda: day[0])
    network = make_network({"meter": meter}, daily_bytes_max=1_200_000)
    cache = ModelCache(tmp_path / "cache", bytes_max=10 * SIZE)
    with pytest.raises(BudgetExhausted):
        fetch_model(model, network=network, cache=cache, in_use=())
    here = cache.partial_bytes(model.sha256)
    assert 1_000_000 < here < SIZE
    day[0] += 86_400
    fetch_model(model, network=network, cache=cache, in_use=())
    assert cache.has(model.sha256)
    assert asked_ranges(fleet) == [0, here]
    assert meter.this_month().bytes_received < SIZE + 70_000, "hardly a byte came twice"


def test_a_download_through_a_proxy_that_is_cut_off_goes_on_where_it_stood(
    make_network: Callable[..., Network], fleet: FakeFleet, model: ModelRef, proxy: SmallProxy, tmp_path: Path
) -> None:
    network, cache = make_network(proxy=proxy.address), ModelCache(tmp_path / "cache", bytes_max=10 * SIZE)
    proxy.cut_after = 700_000
    with pytest.raises(Exception, match=r"IncompleteRead|ended at byte"):
        fetch_model(model, network=network, cache=cache, in_use=())
    here = cache.partial_bytes(model.sha256)
    assert 600_000 < here <= 700_000
    proxy.cut_after = None
    fetch_model(model, network=network, cache=cache, in_use=())
    assert asked_ranges(fleet) == [0, here]
    assert hashlib.sha256(cache.path(model.sha256).read_bytes()).hexdigest() == model.sha256


# The high-water mark of this program alone; getrusage would also count the test's process that started it.
PEAK = """
import sys
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
"""
PROGRAM = """
import sys
from pathlib import Path
from fleetclient.cache import ModelCache
from fleetclient.identity import Identity
from fleetclient.netpolicy.options import NetworkOptions
from fleetclient.network import Network, NetworkPolicy
from fleetclient.transfers import fetch_model
from fleetclient.wire import ModelRef
origin, identity, cache, sha256, size, rate = sys.argv[1:]
policy = NetworkPolicy(options=NetworkOptions(bandwidth_mbit_per_s=float(rate)))
fetch_model(
    ModelRef(sha256=sha256, bytes=int(size)),
    network=Network(origin=origin, identity=Identity(Path(identity)), policy=policy),
    cache=ModelCache(Path(cache), bytes_max=10**8),
    in_use=(),
)
"""


def test_a_download_that_is_killed_under_the_cap_goes_on_where_it_stood(
    network: Network, identity: Identity, fleet: FakeFleet, model: ModelRef, tmp_path: Path
) -> None:
    cache = ModelCache(tmp_path / "cache", bytes_max=10 * SIZE)
    arguments = [fleet.origin, str(tmp_path / "state/identity"), str(tmp_path / "cache"), model.sha256, str(SIZE), "2"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], env=env)
    try:
        wait_until(lambda: cache.partial_bytes(model.sha256) > 0)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    here = cache.partial_bytes(model.sha256)
    assert 0 < here < SIZE
    del identity, network
    again = Network(origin=fleet.origin, identity=Identity(tmp_path / "state/identity"))
    fetch_model(model, network=again, cache=cache, in_use=())
    assert asked_ranges(fleet) == [0, here]
    assert cache.has(model.sha256)


def test_a_download_is_never_in_memory_as_a_whole(identity: Identity, fleet: FakeFleet, tmp_path: Path) -> None:
    size = 60_000_000
    add_units(fleet, 1)
    fleet.units[0].state = "leased"
    fleet.units[0].contract["model"] = {"sha256": fleet.add_blob(bytes(size)), "bytes": size}
    sha256 = fleet.units[0].contract["model"]["sha256"]
    measured = PROGRAM.replace("policy =", "before = peak()\npolicy =").replace("import sys\n", PEAK, 1)
    measured += "print(peak() - before)\n"
    arguments = [fleet.origin, str(tmp_path / "state/identity"), str(tmp_path / "cache"), sha256, str(size), "0"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", measured, *arguments], env=env, capture_output=True, check=True)
    assert int(ended.stdout) < 20_000, "KiB of memory beyond what the program had before"
    assert ModelCache(tmp_path / "cache", bytes_max=10**8).has(sha256)
    assert identity.vehicle_id is not None
