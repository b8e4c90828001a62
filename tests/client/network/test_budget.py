"""The day's bytes: all of them are counted, and when they are spent nothing more moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetclient import wire
from fleetclient.netpolicy.budget import BudgetExhausted
from fleetclient.network import Network, ServerRefused, Unreachable
from fleetclient.usage import UsageMeter
from tests.client.fake_fleet import FakeFleet
from tests.client.network.messages import CALLS, EMPTY_SYNC
from tests.client.support import add_units


@pytest.fixture
def meter(tmp_path: Path) -> UsageMeter:
    return UsageMeter(tmp_path / "usage.json")


def upload(network: Network, size: int) -> None:
    with pytest.raises(ServerRefused, match="replica_unknown"):
        network.patch(wire.OUTPUTS_PATH + "x", bytes(size), {})


def test_a_sync_is_counted_both_ways_with_its_headers(
    make_network: Callable[..., Network], meter: UsageMeter, fleet: FakeFleet
) -> None:
    make_network({"meter": meter}).sync(EMPTY_SYNC)
    _, _, headers = fleet.requests[0]
    sent = len(EMPTY_SYNC) + sum(len(name) + len(value) + 4 for name, value in headers.items())
    assert sent <= meter.today().bytes_sent <= sent + 300
    assert 200 < meter.today().bytes_received < 2000


def test_every_byte_of_files_is_counted(
    make_network: Callable[..., Network], meter: UsageMeter, fleet: FakeFleet
) -> None:
    network = make_network({"meter": meter})
    upload(network, 1_000_000)
    assert 1_000_000 <= meter.today().bytes_sent <= 1_002_000
    blob = fleet.add_blob(bytes(700_000))
    add_units(fleet, 1)
    fleet.units[0].state, fleet.units[0].input_sha256 = "leased", blob
    network.download(wire.BLOBS_PATH + blob, start=0, end=700_000, write=lambda _at, _piece: None)
    assert 700_000 <= meter.today().bytes_received <= 702_000


def test_a_server_that_is_away_costs_nothing(
    make_network: Callable[..., Network], meter: UsageMeter, fleet: FakeFleet
) -> None:
    network = make_network({"meter": meter})
    fleet.stop()
    for _ in range(3):
        with pytest.raises(Unreachable):
            network.sync(EMPTY_SYNC)
    assert meter.today().bytes_moved == 0


def test_files_end_before_the_budget_and_messages_with_it(
    make_network: Callable[..., Network], meter: UsageMeter, fleet: FakeFleet
) -> None:
    network = make_network({"meter": meter}, egress_bytes_per_day_max=200_000)
    upload(network, 100_000)
    requests = len(fleet.requests)
    with pytest.raises(BudgetExhausted, match="tomorrow"):
        network.patch(wire.OUTPUTS_PATH + "x", bytes(95_000), {})
    assert len(fleet.requests) == requests
    network.sync(EMPTY_SYNC)
    meter.add_bytes(100_000, 0)
    requests = len(fleet.requests)
    for call in CALLS.values():
        with pytest.raises(BudgetExhausted):
            call(network)
    assert len(fleet.requests) == requests


def test_the_signed_configuration_can_only_lower_the_budget(
    make_network: Callable[..., Network], meter: UsageMeter, fleet: FakeFleet
) -> None:
    signed = [10**12]
    network = make_network({"meter": meter, "signed_egress_bytes": lambda: signed[0]}, egress_bytes_per_day_max=200_000)
    meter.add_bytes(150_000, 0)
    network.sync(EMPTY_SYNC)
    signed[0] = 100_000
    with pytest.raises(BudgetExhausted):
        network.sync(EMPTY_SYNC)
    signed[0], network = 0, make_network({"meter": meter}, egress_bytes_per_day_max=0)
    network.sync(EMPTY_SYNC)
    assert len(fleet.syncs) == 2


def test_a_download_stops_where_the_days_bytes_are_spent_and_keeps_what_it_has(
    make_network: Callable[..., Network], meter: UsageMeter, fleet: FakeFleet
) -> None:
    network = make_network({"meter": meter}, daily_bytes_max=1_000_000)
    blob = fleet.add_blob(bytes(3_000_000))
    add_units(fleet, 1)
    fleet.units[0].state, fleet.units[0].input_sha256 = "leased", blob
    kept = 0

    def write(_offset: int, piece: bytes) -> None:
        nonlocal kept
        kept += len(piece)

    with pytest.raises(BudgetExhausted):
        network.download(wire.BLOBS_PATH + blob, start=0, end=3_000_000, write=write)
    assert 800_000 < kept <= 950_000
    fleet.units.clear()
    network.sync(EMPTY_SYNC)
