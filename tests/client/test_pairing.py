"""Pairing against the fake fleet: what is shown, how it polls, what is stored."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetclient.identity import Identity
from fleetclient.network import Network
from fleetclient.pairing import PairingRefused, draw_qr, pair
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_number_is_shown_for_people_and_for_programs(pairing: Pairing) -> None:
    pairing.run()
    first, *rest = pairing.out.getvalue().splitlines()
    assert json.loads(first)["match_number"] == 42
    assert "When asked for the number on the car's screen, pick 42" in rest


def test_a_terminal_shows_the_address_as_a_qr_code_and_a_pipe_does_not(pairing: Pairing, fleet: FakeFleet) -> None:
    pairing.run()
    assert "\u2588" not in pairing.out.getvalue()
    pairing.out = Terminal()
    pairing.identity.vehicle_id = None
    pairing.network.adopt_identity()
    pairing.run()
    assert draw_qr(fleet.origin + "/pair?code=BCDF-GHJK") in pairing.out.getvalue()


def test_the_qr_code_holds_the_address_and_fits_a_small_screen() -> None:
    import segno

    address = "https://fleet.example:8443/pair?code=BCDF-GHJK"
    drawn = draw_qr(address).splitlines()
    modules = segno.make(address, error="l", micro=False).symbol_size(border=2)[0]
    assert len(drawn) == (modules + 1) // 2 <= 24
    # Half blocks: every module of the code can be found again in the text, colour codes aside.
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in drawn]
    assert {len(line) for line in plain} == {modules}


def test_what_a_server_sends_cannot_steer_the_terminal(pairing: Pairing, fleet: FakeFleet) -> None:
    honest = fleet._pair_device

    def steering(document: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = honest(document)
        return status, headers, body.replace(b"BCDF-GHJK", b"\\u001b[2J\\u0007BCDF")

    fleet._pair_device = steering  # type: ignore[method-assign]
    pairing.run()
    assert "\x1b" not in pairing.out.getvalue()
    assert "\x07" not in pairing.out.getvalue()


def test_the_network_is_asked_at_no_address_but_the_servers(pairing: Pairing, fleet: FakeFleet) -> None:
    fleet.polls_before_approval = 0
    pairing.run()
    assert [path for _, path, _ in fleet.requests] == ["/api/vehicle/v1/pair/device", "/api/vehicle/v1/pair/token"]
