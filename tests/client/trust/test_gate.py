"""What a car believes when nobody attacks: signed models, revocations, the stop switch, the first root."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetclient.trust.gate import Admission
from fleetclient.trust.look import LookFailed
from fleetclient.trust.options import TrustOptions, TrustOptionsInvalid, check_trust
from tests.client.trust.scene import CarGate, Fleet, utc_now
from workunits.trust.offline import CarConfig, Release, next_targets

MODEL = b"a model" * 100
NOBODY = "0" * 64


def test_a_model_that_the_fleet_signed_runs_and_any_other_does_not(trusted_fleet, gate):
    sha256, size_bytes = trusted_fleet.admit(MODEL)
    gate.gate.want([(sha256, size_bytes), (NOBODY, 5)])
    assert gate.gate.judge(sha256, size_bytes) is Admission.PENDING
    assert gate.gate.refresh()
    assert gate.gate.judge(sha256, size_bytes) is Admission.ADMITTED
    assert gate.gate.judge(sha256, size_bytes + 1) is Admission.REFUSED
    assert gate.gate.judge(NOBODY, 5) is Admission.REFUSED
    assert gate.gate.stop_reason() == ""


def test_nothing_runs_before_the_first_look_and_the_gate_says_why(gate):
    assert gate.gate.stop_reason() == "the fleet's signed metadata has not been read yet"
    assert not gate.gate.is_admitted(NOBODY, 5)
    assert gate.gate.is_due(0.0)


def test_what_was_found_survives_a_restart_of_the_agent(tmp_path, trusted_fleet, gate):
    model = trusted_fleet.admit(MODEL)
    gate.gate.want([model])
    gate.gate.refresh()
    again = CarGate(tmp_path, trusted_fleet)
    assert again.gate.is_admitted(*model)
    assert again.gate.root_fingerprint == gate.gate.root_fingerprint


def test_a_damaged_memory_is_forgotten_and_found_again(tmp_path, trusted_fleet, gate):
    model = trusted_fleet.admit(MODEL)
    gate.gate.want([model])
    gate.gate.refresh()
    (tmp_path / "trust" / "verdict.json").write_bytes(b'{"checked_at": 1')
    again = CarGate(tmp_path, trusted_fleet)
    assert not again.gate.is_admitted(*model)
    again.gate.want([model])
    assert again.gate.refresh()
    assert again.gate.is_admitted(*model)


def test_a_model_the_car_does_not_know_makes_a_look_due_at_once(trusted_fleet, gate):
    gate.gate.refresh()
    assert gate.gate.seconds_until_due(gate.gate._looked_at) == pytest.approx(900.0)
    model = trusted_fleet.admit(MODEL)
    gate.gate.want([model])
    assert gate.gate.seconds_until_due(gate.gate._looked_at) == pytest.approx(2.0)
    assert gate.gate.refresh_if_due(gate.gate._looked_at + 2.0)
    assert gate.gate.is_admitted(*model)
    assert gate.gate.seconds_until_due(gate.gate._looked_at) == pytest.approx(900.0)


def test_a_revoked_model_is_refused_after_the_next_look_and_others_are_not(trusted_fleet, gate):
    first, second = trusted_fleet.admit(MODEL), trusted_fleet.admit(MODEL * 2)
    gate.gate.want([first, second])
    gate.gate.refresh()
    trusted_fleet.revoke(*first)
    assert gate.gate.refresh()
    assert gate.gate.judge(*first) is Admission.REFUSED
    assert gate.gate.judge(*second) is Admission.ADMITTED


def test_a_stopped_fleet_stops_at_the_next_look_and_an_older_word_does_not_start_it_again(trusted_fleet, gate):
    model = trusted_fleet.admit(MODEL)
    gate.gate.want([model])
    gate.gate.refresh()
    before = trusted_fleet.remember()
    trusted_fleet.repository.stop(now=utc_now().replace(year=2020))  # the last word has expired already
    trusted_fleet.show()
    assert not gate.gate.refresh()
    assert gate.error == "metadata_expired"
    assert gate.gate.stop_reason().startswith("the fleet's signed metadata has expired: the fleet is stopped")
    assert gate.gate.judge(*model) is Admission.PENDING

    trusted_fleet.served = before  # whoever holds the web tier shows what was in force an hour ago
    assert not gate.gate.refresh()
    assert gate.error == "metadata_refused"
    assert not gate.gate.is_admitted(*model)

    trusted_fleet.admission.resume()
    trusted_fleet.sign()
    assert gate.gate.refresh()
    assert gate.gate.is_admitted(*model)


def test_the_fleet_tells_its_cars_where_to_connect_what_to_send_and_how_often_to_look(trusted_fleet, gate):
    gate.gate.refresh()
    assert gate.gate.signed_config.origins == (trusted_fleet.origin,)
    assert gate.gate.signed_config.egress_bytes_per_day == 2 * 1024**3
    config = CarConfig(origins=("https://other.example",), egress_bytes_per_day=5, refresh_seconds=60)
    trusted_fleet.take(trusted_fleet.signed(next_targets(_targets(trusted_fleet), now=utc_now(), config=config)))
    trusted_fleet.sign()
    assert gate.gate.refresh()
    assert gate.gate.signed_config.egress_bytes_per_day == 5
    assert gate.gate.seconds_until_due(gate.gate._looked_at) == pytest.approx(60.0)
    expected = f"the fleet's signed configuration does not name this server ({trusted_fleet.origin})"
    assert gate.gate.stop_reason() == expected


def test_a_release_is_found_on_its_channel_and_checked_as_it_comes(trusted_fleet, gate):
    wheel = b"wheel" * 1000
    release = Release(
        channel="stable", file_name="fleetcompute_client-0.2.0-py3-none-any.whl", content=wheel, ring_percent=5.0
    )
    staged = next_targets(_targets(trusted_fleet), now=utc_now(), release=release, channels={})
    trusted_fleet.take(trusted_fleet.signed(staged))
    trusted_fleet.sign()
    assert gate.gate.refresh()
    channel = gate.gate.channels["stable"]
    assert (channel.version, channel.ring_percent, channel.is_security) == ("0.2.0", 5.0, False)
    assert gate.gate.download(channel.target).read_bytes() == wheel
    with pytest.raises(LookFailed, match="is not a release"):
        gate.gate.download(f"models/{NOBODY}")
    with pytest.raises(LookFailed, match=r"the fleet has signed no client/none\.whl"):
        gate.gate.download("client/none.whl")


def test_a_release_that_was_changed_on_its_way_is_refused(tmp_path, trusted_fleet, gate):
    name = "fleetcompute_client-0.2.0-py3-none-any.whl"
    release = Release(channel="stable", file_name=name, content=b"good" * 10, ring_percent=100.0)
    staged = next_targets(_targets(trusted_fleet), now=utc_now(), release=release, channels={})
    trusted_fleet.take(trusted_fleet.signed(staged))
    trusted_fleet.sign()
    served = next(known for known in trusted_fleet.served if known.endswith(name))
    trusted_fleet.served[served] = b"evil" * 10
    gate.gate.refresh()
    with pytest.raises(LookFailed) as refused:
        gate.gate.download(f"client/{name}")
    assert refused.value.code == "metadata_refused"
    assert not list((tmp_path / "trust" / "targets").glob("*whl*"))


def test_every_look_says_what_it_cost(trusted_fleet, gate):
    gate.gate.refresh()
    assert gate.meter.sent > 0
    assert gate.meter.received > sum(len(trusted_fleet.served[name]) for name in ("timestamp.json", "1.root.json"))


def test_the_first_root_is_kept_and_its_fingerprint_is_known(trusted_fleet, gate):
    gate.gate.refresh()
    assert gate.gate.root_fingerprint == hashlib.sha256(trusted_fleet.served["1.root.json"]).hexdigest()


def test_a_pinned_fingerprint_refuses_another_fleet_at_the_first_contact(tmp_path, trusted_fleet):
    other = CarGate(tmp_path, trusted_fleet, root_sha256="ab" * 32)
    assert not other.gate.refresh()
    assert other.error == "root_mismatch"
    right = hashlib.sha256(trusted_fleet.served["1.root.json"]).hexdigest()
    assert CarGate(tmp_path, trusted_fleet, root_sha256=right).gate.refresh()


def test_a_pinned_root_file_beats_what_the_server_shows(tmp_path, trusted_fleet):
    (tmp_path / "impostor").mkdir()
    impostor = Fleet(tmp_path / "impostor")
    pinned = tmp_path / "root.json"
    pinned.write_bytes(trusted_fleet.served["1.root.json"])
    trusted_fleet.served = impostor.served
    impostor.close()
    car = CarGate(tmp_path, trusted_fleet, root_file=str(pinned))
    assert not car.gate.refresh()
    assert car.error == "metadata_refused"
    pinned.unlink()
    assert not car.gate.refresh()
    assert car.error == "root_missing"


def test_a_look_that_fails_is_tried_again_later_and_changes_nothing(trusted_fleet, gate):
    model = trusted_fleet.admit(MODEL)
    gate.gate.want([model])
    gate.gate.refresh()
    found = gate.gate.verdict
    trusted_fleet.close()
    assert not gate.gate.refresh()
    assert gate.error == "unreachable"
    assert gate.gate.verdict == found
    assert gate.gate.is_admitted(*model)
    assert gate.gate.seconds_until_due(gate.gate._looked_at) <= 2.0


def test_two_looks_at_once_follow_each_other(tmp_path, trusted_fleet):
    models = [trusted_fleet.admit(MODEL + bytes([number])) for number in range(4)]
    cars = [CarGate(tmp_path, trusted_fleet) for _ in models]
    for car, model in zip(cars, models, strict=True):
        car.gate.want([model])
    with ThreadPoolExecutor() as pool:
        assert all(pool.map(lambda car: car.gate.refresh(), cars))
    assert all(car.gate.is_admitted(*model) for car, model in zip(cars, models, strict=True))


def test_redirects_are_not_followed(tmp_path, trusted_fleet):
    trusted_fleet.served["elsewhere.json"] = trusted_fleet.served["timestamp.json"]
    trusted_fleet.served["timestamp.json"] = f"{trusted_fleet.origin}/api/vehicle/v1/trust/elsewhere.json"
    car = CarGate(tmp_path, trusted_fleet)
    assert not car.gate.refresh()
    assert car.error == "repository_incomplete"
    assert "elsewhere.json" not in trusted_fleet.asked


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "no"}, "mode must be one of tuf, off, not 'no'"),
        ({"refresh_seconds": 0.5}, "refresh_seconds must be from 1 to 21600, not 0.5"),
        ({"refresh_seconds": 86_400.0}, "refresh_seconds must be from 1 to 21600, not 86400.0"),
        ({"root_sha256": "AB"}, "root_sha256 must be 64 hexadecimal digits"),
    ],
)
def test_options_that_cannot_be_used_are_named(options, sentence):
    with pytest.raises(TrustOptionsInvalid, match=sentence):
        TrustOptions(**options)


@pytest.mark.parametrize(
    ("server", "is_simulation"),
    [("http://127.0.0.1:1", False), ("https://fleet.example", True), ("http://127.0.0.1.evil.example", True)],
)
def test_trust_is_never_switched_off_on_a_real_car(server, is_simulation):
    with pytest.raises(TrustOptionsInvalid, match=r"mode = off needs a \[simulation\] section"):
        check_trust(TrustOptions(mode="off"), server=server, is_simulation=is_simulation)


@pytest.mark.parametrize("server", ["http://127.0.0.1:80", "http://[::1]:80", "http://localhost:80"])
def test_a_simulation_on_this_machine_may_believe_its_server(tmp_path, trusted_fleet, server):
    check_trust(TrustOptions(mode="off"), server=server, is_simulation=True)
    car = CarGate(tmp_path, trusted_fleet, mode="off")
    assert car.gate.is_admitted(NOBODY, 1)
    assert car.gate.stop_reason() == ""
    assert not car.gate.is_due(time.time())
    assert car.gate.refresh()
    assert trusted_fleet.asked == []


def test_the_agent_can_import_the_gate_without_what_weighs():
    client = Path(__file__).parents[3] / "client"
    script = "import sys, fleetclient.trust.gate; print([m for m in ('tuf', 'numpy', 'requests') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(client)}, capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def _targets(fleet):
    return fleet.repository.kept.targets.signed


def test_verdicts_that_are_kept_at_once_follow_each_other(tmp_path, trusted_fleet):
    cars = [CarGate(tmp_path, trusted_fleet) for _ in range(12)]
    verdict = cars[0].gate.verdict
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda car: [car.gate._keep(verdict) for _ in range(5)], cars))
    assert cars[0].gate._path.read_bytes() == verdict.to_json()
