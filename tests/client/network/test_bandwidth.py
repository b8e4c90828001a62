"""The cap on bytes both ways, on real HTTP, against a clock that only the cap itself moves."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetclient import wire
from fleetclient.netpolicy.bucket import TokenBucket
from fleetclient.network import Network
from tests.client.fake_fleet import FakeFleet
from tests.client.support import add_units

MEGABIT = 125_000


class Clock:
    """Time passes only where somebody sleeps, so that what moved by when can be counted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lock = threading.Lock()

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        with self.lock:
            self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def capped(clock: Clock, make_network: Callable[..., Network]) -> Network:
    """A network of one megabit a second."""
    return make_network({"bandwidth_now": clock.read, "sleep": clock.sleep}, bandwidth_mbit_per_s=1.0)


def leased_blob(fleet: FakeFleet, size: int) -> str:
    blob = fleet.add_blob(bytes(size))
    add_units(fleet, 1)
    fleet.units[-1].state, fleet.units[-1].input_sha256 = "leased", blob
    return wire.BLOBS_PATH + blob


def test_a_download_is_never_ahead_of_the_cap(capped: Network, clock: Clock, fleet: FakeFleet) -> None:
    size, moved = 1_000_000, 0

    def write(_offset: int, piece: bytes) -> None:
        nonlocal moved
        moved += len(piece)
        # What came may have filled the burst, and the piece at hand is let through before the next one waits.
        assert moved <= 64 * 1024 + clock.now * MEGABIT + 64 * 1024

    capped.download(leased_blob(fleet, size), start=0, end=size, write=write)
    assert moved == size
    assert (size - 64 * 1024) / MEGABIT <= clock.now <= (size + 10_000) / MEGABIT


def test_an_upload_is_as_slow_as_the_cap(capped: Network, clock: Clock, fleet: FakeFleet) -> None:
    from tests.client.fake_fleet import Refused

    fleet.refuse_next.append(("outputs/", Refused(409, "upload_not_expected")))
    size = 1024 * 1024
    with pytest.raises(Exception, match="upload_not_expected"):
        capped.patch(wire.OUTPUTS_PATH + "x", bytes(size), {})
    assert (size - 64 * 1024) / MEGABIT <= clock.now <= (size + 10_000) / MEGABIT


def test_two_threads_share_one_cap(capped: Network, clock: Clock, fleet: FakeFleet) -> None:
    size = 300_000
    paths = [leased_blob(fleet, size), leased_blob(fleet, size + 1)]
    threads = [
        threading.Thread(
            target=capped.download,
            args=(path,),
            kwargs={"start": 0, "end": size, "write": lambda _at, _piece: None},
        )
        for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now >= (2 * size - 64 * 1024) / MEGABIT


def test_without_a_cap_nobody_waits(clock: Clock, make_network: Callable[..., Network], fleet: FakeFleet) -> None:
    network = make_network({"bandwidth_now": clock.read, "sleep": clock.sleep}, bandwidth_mbit_per_s=0.0)
    network.download(leased_blob(fleet, 500_000), start=0, end=500_000, write=lambda _at, _piece: None)
    assert clock.now == 0.0


@given(
    rate=st.floats(1e3, 1e8),
    events=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1_000_000)), max_size=40),
)
def test_over_any_stretch_the_bucket_lets_through_no_more_than_it_says(
    rate: float, events: list[tuple[float, int]]
) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, now=clock.read, sleep=clock.sleep)
    passed: list[tuple[float, int]] = []
    for pause, count in events:
        clock.now += pause
        bucket.take(count)
        passed.append((clock.now, count))
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            stretch = passed[last][0] - passed[first][0]
            total = sum(count for _, count in passed[first : last + 1])
            largest = max(count for _, count in passed[first : last + 1])
            assert total <= (bucket.burst_bytes + stretch * rate + largest) * (1 + 1e-6)
