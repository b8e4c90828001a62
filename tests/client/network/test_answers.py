"""Which answers a car believes: signed by the director, for this request, naming this car."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetclient.identity import Identity
from fleetclient.network import Network, Unreachable, WrongVehicle
from fleetclient.signing import DirectorSignatureInvalid
from tests.client.fake_fleet import FakeFleet
from tests.client.network.messages import EMPTY_SYNC
from tests.client.support import make_identity

ASKS: dict[str, Callable[[Network], object]] = {
    "sync": lambda network: network.sync(EMPTY_SYNC),
    "account": lambda network: network.get_account(since=1_000_000),
}


@pytest.mark.parametrize("name", ASKS)
@pytest.mark.parametrize("named", ["veh_another", "", None, 7])
def test_an_answer_for_another_car_is_refused_though_the_director_signed_it(
    name: str, named: object, network: Network, fleet: FakeFleet
) -> None:
    fleet.answer_changes = {"vehicle": named}
    with pytest.raises((WrongVehicle, Unreachable), match=r"for '|vehicle is not"):
        ASKS[name](network)


@pytest.mark.parametrize("name", ASKS)
def test_an_answer_that_was_changed_on_its_way_is_refused(name: str, network: Network, fleet: FakeFleet) -> None:
    fleet.answer_tamper = b" "
    with pytest.raises(DirectorSignatureInvalid):
        ASKS[name](network)


def test_neither_an_older_answer_nor_another_cars_can_be_replayed(
    network: Network, fleet: FakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    honest = fleet._signed

    def keep(body: bytes, signature: str) -> Any:
        kept.append(honest(body, signature))
        return kept[-1]

    monkeypatch.setattr(fleet, "_signed", keep)
    other = Network(origin=fleet.origin, identity=make_identity(tmp_path / "other", fleet, "veh_other"))
    other.sync(EMPTY_SYNC)
    network.sync(EMPTY_SYNC)
    for replayed in kept:
        monkeypatch.setattr(fleet, "_signed", lambda _body, _signature, answer=replayed: answer)
        with pytest.raises(DirectorSignatureInvalid):
            network.sync(EMPTY_SYNC)


def test_a_car_without_a_pairing_believes_nothing(tmp_path: Path, fleet: FakeFleet) -> None:
    identity = Identity(tmp_path / "new")
    fleet.add_vehicle(identity.key_id, identity.public_key)
    with pytest.raises(DirectorSignatureInvalid, match="pair it first"):
        Network(origin=fleet.origin, identity=identity).sync(EMPTY_SYNC)


def test_the_servers_rules_come_with_the_answer(network: Network, fleet: FakeFleet) -> None:
    assert network.sync(EMPTY_SYNC).rules is None
    fleet.rules = {"stop_soc_pct": 60}
    assert network.sync(EMPTY_SYNC).rules == {"stop_soc_pct": 60}


def test_what_was_earned_is_asked_with_the_start_of_the_day_which_is_signed(network: Network, fleet: FakeFleet) -> None:
    fleet.gross_microcredits = 12_345
    account = network.get_account(since=1_795_449_600)
    assert (account.gross_microcredits, account.since, account.gross) == (12_345, 1_795_449_600, None)
    assert fleet.requests[0][:2] == ("GET", "/api/vehicle/v1/account")
