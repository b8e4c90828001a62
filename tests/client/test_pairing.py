"""Pairing against the fake fleet: what is shown, how it polls, what is stored."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetclient.identity import Identity
from fleetclient.network import Network
from fleetclient.pairing import PairingRefused, pair
from fleetclient.signing import DirectorSignatureInvalid
from tests.client.fake_fleet import FakeFleet, Refused


class Pairing:
    def __init__(self, folder: Path, fleet: FakeFleet) -> None:
        self.identity = Identity(folder / "identity")
        self.network = Network(origin=fleet.origin, identity=self.identity)
        self.out = io.StringIO()
        self.waits: list[float] = []

    def run(self) -> str:
        return pair(
            network=self.network,
            identity=self.identity,
            name="Blue ID.3",
            out=self.out,
            sleep=self.waits.append,
        )


@pytest.fixture
def pairing(tmp_path: Path, fleet: FakeFleet) -> Pairing:
    return Pairing(tmp_path, fleet)


def test_an_approved_car_stores_its_vehicle_id_and_the_director_key(
    pairing: Pairing, fleet: FakeFleet, tmp_path: Path
) -> None:
    fleet.polls_before_approval = 2
    vehicle_id = pairing.run()
    assert fleet.vehicles[vehicle_id] == pairing.identity.public_key
    again = Identity(tmp_path / "identity")
    assert again.vehicle_id == vehicle_id
    assert again.key_id == vehicle_id
    assert again.director_key == fleet.director.public_key().public_bytes_raw()
    assert len(pairing.waits) == 3


def test_the_device_code_is_never_shown(pairing: Pairing, fleet: FakeFleet) -> None:
    pairing.run()
    (device_code,) = fleet._pairings
    assert device_code not in pairing.out.getvalue()
    assert json.loads(pairing.out.getvalue().splitlines()[0])["user_code"] == "BCDF-GHJK"


def test_slow_down_adds_five_seconds_to_every_wait_after_it(pairing: Pairing, fleet: FakeFleet) -> None:
    fleet.polls_before_approval = 0
    fleet.pairing_answers = ["authorization_pending", "slow_down", "authorization_pending"]
    pairing.run()
    assert pairing.waits == [0.0, 0.0, 5.0, 5.0]


@pytest.mark.parametrize("code", ["access_denied", "expired_token"])
def test_a_refused_pairing_ends_and_stores_nothing(pairing: Pairing, fleet: FakeFleet, code: str) -> None:
    fleet.pairing_answers = [code]
    with pytest.raises(PairingRefused):
        pairing.run()
    assert pairing.identity.vehicle_id is None


def test_an_answer_not_signed_by_the_key_it_brings_is_refused(pairing: Pairing, fleet: FakeFleet) -> None:
    fleet.polls_before_approval = 0
    fleet.sign_answers_with = Ed25519PrivateKey.generate()
    with pytest.raises(DirectorSignatureInvalid):
        pairing.run()
    assert pairing.identity.vehicle_id is None


def test_a_busy_server_is_asked_again_after_retry_after(pairing: Pairing, fleet: FakeFleet) -> None:
    fleet.polls_before_approval = 0
    fleet.refuse_next.append(("pair/token", Refused(429, "too_many_requests", headers={"Retry-After": "9"})))
    pairing.run()
    assert pairing.waits == [0.0, 9.0, 0.0]
