"""Attacks on what a car may run, against a real child over real HTTP. Each leaves the car as it was, or stopped.

The web tier holds no key of the repository: it can show, withhold, replay and change files. Somebody with the
admission service's keys can sign bins, snapshot and timestamp as well.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError
from tuf.api.metadata import Metadata, TargetFile

from fleetclient.netpolicy.policy import NetworkPolicy
from fleetclient.trust import fetcher, look
from fleetclient.trust.gate import Admission
from fleetclient.trust.look import LookFailed
from tests.client.trust.scene import PEOPLE, CarGate, utc_now
from workunits.trust import names
from workunits.trust.folder import read_bundle
from workunits.trust.offline import next_root, next_targets

MODEL = b"a model" * 100
PUSHED = "e" * 64


@pytest.fixture
def admitted(trusted_fleet, gate):
    """A model that the car has been told of."""
    model = trusted_fleet.admit(MODEL)
    gate.gate.want([model])
    assert gate.gate.refresh()
    return model


def assert_refused_and_unchanged(gate, admitted, code="metadata_refused"):
    found = gate.gate.verdict
    assert not gate.gate.refresh()
    assert gate.error == code, gate.gate.last_error
    assert gate.gate.verdict == found
    assert gate.gate.is_admitted(*admitted)


# -- rollback --------------------------------------------------------------------------------------------------


def test_an_older_timestamp_is_refused(trusted_fleet, gate, admitted):
    before = trusted_fleet.remember()
    trusted_fleet.admit(MODEL * 2)
    gate.gate.refresh()
    trusted_fleet.served["timestamp.json"] = before["timestamp.json"]
    assert_refused_and_unchanged(gate, admitted)


def test_an_older_snapshot_under_the_name_of_the_new_one_is_refused(trusted_fleet, gate, admitted):
    older = trusted_fleet.served[trusted_fleet.current(names.SNAPSHOT)]
    trusted_fleet.admit(MODEL * 2)
    trusted_fleet.served[trusted_fleet.current(names.SNAPSHOT)] = older
    assert_refused_and_unchanged(gate, admitted)


def test_an_older_snapshot_is_refused_even_with_a_signed_timestamp(trusted_fleet, gate, admitted):
    older = trusted_fleet.metadata(names.SNAPSHOT)
    trusted_fleet.admit(MODEL * 2)
    gate.gate.refresh()

    def point_back(timestamp):
        timestamp.snapshot_meta.version = older.signed.version

    trusted_fleet.forge(names.TIMESTAMP, point_back)
    assert_refused_and_unchanged(gate, admitted)


@pytest.mark.parametrize("role", ["bin", names.TARGETS])
def test_older_bins_and_targets_are_refused_under_the_name_of_the_new_ones(trusted_fleet, gate, admitted, role):
    name = trusted_fleet.bin_of(admitted[0]) if role == "bin" else role
    older = trusted_fleet.served[trusted_fleet.current(name)]
    if role == "bin":
        trusted_fleet.revoke(*admitted)
    else:
        renewed = next_targets(trusted_fleet.metadata(name).signed, now=utc_now())
        trusted_fleet.take(trusted_fleet.signed(renewed))
        trusted_fleet.sign()
    trusted_fleet.served[trusted_fleet.current(name)] = older
    assert_refused_and_unchanged(gate, admitted)


@pytest.mark.parametrize("role", ["bin", names.TARGETS])
def test_older_bins_and_targets_are_refused_even_in_a_signed_snapshot(trusted_fleet, gate, admitted, role):
    """Whoever takes over admission cannot bring back a model that was revoked, or older releases, by rolling back."""
    name = trusted_fleet.bin_of(admitted[0]) if role == "bin" else role
    version = trusted_fleet.metadata(name).signed.version
    kept_model = trusted_fleet.admit(MODEL * 3)
    gate.gate.want([admitted, kept_model])
    if role == "bin":
        trusted_fleet.revoke(*admitted)
    else:
        renewed = next_targets(trusted_fleet.metadata(name).signed, now=utc_now())
        trusted_fleet.take(trusted_fleet.signed(renewed))
        trusted_fleet.sign()
    gate.gate.refresh()

    def name_older(snapshot):
        snapshot.meta[f"{name}.json"].version = version

    trusted_fleet.forge(names.SNAPSHOT, name_older)
    assert_refused_and_unchanged(gate, kept_model)
    assert (gate.gate.judge(*admitted) is Admission.REFUSED) == (role == "bin")


def test_an_older_root_under_the_name_of_the_next_is_refused(trusted_fleet, gate, admitted):
    trusted_fleet.served["2.root.json"] = trusted_fleet.served["1.root.json"]
    assert_refused_and_unchanged(gate, admitted)


def test_a_snapshot_that_leaves_a_bin_out_is_refused(trusted_fleet, gate, admitted):
    trusted_fleet.forge(names.SNAPSHOT, lambda snapshot: snapshot.meta.pop("bin-0.json"))
    assert_refused_and_unchanged(gate, admitted)


# -- freeze, expiry --------------------------------------------------------------------------------------------


def test_a_fleet_that_is_shown_the_same_files_for_ever_stops(tmp_path, trusted_fleet, admitted):
    """Freeze: the car's clock goes on, the files do not."""
    shift = [0.0]
    car = CarGate(tmp_path, trusted_fleet, wall=lambda: time.time() + shift[0])
    car.gate.want([admitted])
    assert car.gate.refresh()
    shift[0] = 11.9 * 3600
    assert car.gate.refresh()
    assert car.gate.is_admitted(*admitted)
    shift[0] = 12.1 * 3600
    assert not car.gate.is_admitted(*admitted)
    assert not car.gate.refresh()
    assert car.error == "metadata_expired"
    assert "the fleet is stopped, or out of reach" in car.gate.stop_reason()


def test_neither_a_clock_that_is_set_back_nor_a_restart_brings_an_expired_word_to_life(
    tmp_path, trusted_fleet, admitted
):
    shift = [11.9 * 3600]
    car = CarGate(tmp_path, trusted_fleet, wall=lambda: time.time() + shift[0])
    car.gate.want([admitted])
    assert car.gate.refresh()
    shift[0] = -1e9  # a clock without a battery
    assert car.gate._clock.now() > time.time() + 11.8 * 3600
    again = CarGate(tmp_path, trusted_fleet, wall=lambda: time.time() + shift[0])
    assert again.gate._clock.now() > time.time() + 11.8 * 3600
    assert again.gate.is_admitted(*admitted)
    again.gate._clock.note_passed(time.time() + 12.1 * 3600)
    assert not again.gate.is_admitted(*admitted)


def test_a_server_whose_clock_stands_still_cannot_lengthen_the_life_of_its_files(tmp_path, trusted_fleet, admitted):
    trusted_fleet.date_shift_seconds = -86_400.0
    car = CarGate(tmp_path, trusted_fleet, wall=lambda: time.time() + 13 * 3600)
    car.gate.want([admitted])
    assert not car.gate.refresh()
    assert car.error == "metadata_expired"
    assert "this car's clock is 37.0 h ahead of the server's" in car.gate.last_error


def test_a_clock_that_jumps_ahead_for_a_moment_stops_the_car_for_that_moment_only(tmp_path, trusted_fleet, admitted):
    shift = [0.0]
    car = CarGate(tmp_path, trusted_fleet, wall=lambda: time.time() + shift[0])
    car.gate.want([admitted])
    car.gate.refresh()
    shift[0] = 12 * 365 * 86_400.0
    assert not car.gate.refresh()
    assert not car.gate.is_admitted(*admitted)
    shift[0] = 0.0
    assert car.gate.refresh()
    assert car.gate.is_admitted(*admitted)


@pytest.mark.parametrize("role", [names.TARGETS, names.MODELS, names.SNAPSHOT, names.TIMESTAMP])
def test_expired_metadata_of_every_role_is_refused(trusted_fleet, gate, admitted, role):
    def expire(signed):
        signed.expires = utc_now().replace(microsecond=0) - timedelta(seconds=1)

    trusted_fleet.forge(role, expire, people=PEOPLE[:2] if role == names.TARGETS else ())
    if role in (names.TARGETS, names.SNAPSHOT):
        assert_refused_and_unchanged(gate, admitted, "metadata_expired")
        return
    assert gate.gate.refresh() == (role == names.MODELS)
    assert not gate.gate.is_admitted(*admitted)


def test_a_root_that_has_expired_is_refused(trusted_fleet, gate, admitted):
    staged = next_root(trusted_fleet.metadata(names.ROOT).signed, now=utc_now() - timedelta(days=366))
    trusted_fleet.take(trusted_fleet.signed(staged))
    trusted_fleet.sign()
    assert_refused_and_unchanged(gate, admitted, "metadata_expired")


def test_an_expired_bin_stops_its_models_and_no_others(trusted_fleet, gate, admitted):
    others = [trusted_fleet.admit(MODEL + bytes([number])) for number in range(8)]
    other = next(model for model in others if trusted_fleet.bin_of(model[0]) != trusted_fleet.bin_of(admitted[0]))
    gate.gate.want([admitted, other])

    def expire(signed):
        signed.expires = utc_now().replace(microsecond=0) - timedelta(seconds=1)

    trusted_fleet.forge(trusted_fleet.bin_of(admitted[0]), expire)
    assert gate.gate.refresh()
    assert not gate.gate.is_admitted(*admitted)
    assert gate.gate.is_admitted(*other)


# -- mix and match ---------------------------------------------------------------------------------------------


def test_files_of_two_moments_do_not_go_together(trusted_fleet, gate, admitted):
    trusted_fleet.revoke(*admitted)
    revoked = trusted_fleet.remember()
    readmitted = trusted_fleet.admit(MODEL)
    bin_name = trusted_fleet.current(trusted_fleet.bin_of(readmitted[0]))
    content = trusted_fleet.served[bin_name]
    trusted_fleet.served = revoked
    trusted_fleet.served[trusted_fleet.current(names.TIMESTAMP)] = revoked["timestamp.json"]
    older_bin = next(
        name for name in sorted(revoked, reverse=True) if name.endswith(bin_name.partition(".")[2]) and name < bin_name
    )
    trusted_fleet.served[older_bin] = content  # the bin that lists it, in a snapshot that does not
    assert_refused_and_unchanged(gate, admitted)


# -- one key short ---------------------------------------------------------------------------------------------


def test_a_root_with_one_signature_too_few_is_refused_and_the_whole_fleet_keeps_its_root(trusted_fleet, gate, admitted):
    staged = next_root(trusted_fleet.metadata(names.ROOT).signed, now=utc_now())
    staged.metadata.sign(trusted_fleet.signer("alice"))
    trusted_fleet.served["2.root.json"] = staged.metadata.to_bytes()
    assert_refused_and_unchanged(gate, admitted)


def test_a_root_that_its_new_keys_signed_but_not_the_old_ones_is_refused(trusted_fleet, gate, admitted):
    thief = CryptoSigner.generate_ed25519()
    staged = next_root(
        trusted_fleet.metadata(names.ROOT).signed, now=utc_now(), holders={"root": ([thief.public_key], 1)}
    )
    staged.metadata.sign(thief)
    staged.metadata.sign(trusted_fleet.signer("alice"), append=True)
    trusted_fleet.served["2.root.json"] = staged.metadata.to_bytes()
    assert_refused_and_unchanged(gate, admitted)


def test_targets_with_one_signature_too_few_are_refused_although_admission_names_them(trusted_fleet, gate, admitted):
    release = b"evil"
    trusted_fleet.forge(names.TARGETS, lambda signed: _list(signed, "client/evil.whl", release), people=("alice",))
    assert_refused_and_unchanged(gate, admitted)


# -- what each party's keys are good for -----------------------------------------------------------------------


def test_a_web_tier_that_pushes_a_model_signed_with_its_own_key_is_refused(trusted_fleet, gate, admitted):
    own_key = CryptoSigner.generate_ed25519()
    bin_name = trusted_fleet.bin_of(PUSHED)
    forged = Metadata.from_bytes(trusted_fleet.served[trusted_fleet.current(bin_name)])
    _list(forged.signed, names.model_path(PUSHED), b"", sha256=PUSHED, length=9)
    forged.sign(own_key, append=True)
    trusted_fleet.served[trusted_fleet.current(bin_name)] = forged.to_bytes()
    gate.gate.want([admitted, (PUSHED, 9)])
    found = gate.gate.verdict
    if not gate.gate.refresh():
        assert gate.error == "metadata_refused"
        assert gate.gate.verdict == found
    assert not gate.gate.is_admitted(PUSHED, 9)


@pytest.mark.parametrize("place", ["bin", names.MODELS])
def test_the_admission_key_can_sign_neither_a_release_nor_the_configuration(trusted_fleet, gate, admitted, place):
    evil = json.dumps({"origins": ["http://evil.example"], "egress_bytes_per_day": 1, "refresh_seconds": 1}).encode()
    role = trusted_fleet.bin_of(admitted[0]) if place == "bin" else place

    def list_both(signed):
        _list(signed, names.CONFIG_TARGET, evil)
        _list(signed, "client/evil-9.0.0-py3-none-any.whl", b"evil")

    trusted_fleet.forge(role, list_both)
    trusted_fleet.served[names.target_name(names.CONFIG_TARGET, _digest(evil))] = evil
    trusted_fleet.served[names.target_name("client/evil-9.0.0-py3-none-any.whl", _digest(b"evil"))] = b"evil"
    assert gate.gate.refresh()
    assert gate.gate.signed_config.origins == (trusted_fleet.origin,)
    with pytest.raises(LookFailed, match="the fleet has signed no client/evil"):
        gate.gate.download("client/evil-9.0.0-py3-none-any.whl")


def test_a_release_path_never_leads_to_the_admission_service(trusted_fleet):
    delegations = trusted_fleet.metadata(names.TARGETS).signed.delegations
    for path in ("client/a.whl", "client/config.json", "models/../client/a.whl", "models/a/b", "modelsx", "", "models"):
        assert list(delegations.get_roles_for_target(path)) == []
    assert list(delegations.get_roles_for_target(f"models/{PUSHED}")) == [("models", True)]


@pytest.mark.parametrize("custom", [None, {"log": {}}, {"log": "somebody else's"}])
def test_a_model_without_its_own_entry_in_the_public_log_is_refused(trusted_fleet, gate, admitted, custom):
    """Somebody with the admission key signs a model and keeps it out of the log, or names another model's entry."""
    if custom and custom["log"]:
        custom = trusted_fleet.repository.find(admitted[0]).custom
    path = names.model_path(PUSHED)
    trusted_fleet.forge(
        trusted_fleet.bin_of(PUSHED), lambda signed: _list(signed, path, b"", sha256=PUSHED, length=9, custom=custom)
    )
    gate.gate.want([admitted, (PUSHED, 9)])
    assert gate.gate.refresh()
    assert gate.gate.judge(PUSHED, 9) is Admission.REFUSED
    assert gate.gate.is_admitted(*admitted)


# -- keys that were stolen and replaced ------------------------------------------------------------------------


def test_a_fast_forward_is_undone_by_new_keys(trusted_fleet, gate, admitted):
    """The thief numbers his files so high that no honest one could follow; a new root forgets the numbers."""

    def far_ahead(signed):
        signed.version = 2**31 - 1

    trusted_fleet.forge(names.SNAPSHOT, far_ahead)
    assert gate.gate.refresh()
    trusted_fleet.show()
    assert_refused_and_unchanged(gate, admitted)

    _rotate_online(trusted_fleet)
    assert gate.gate.refresh(), gate.gate.last_error
    assert gate.gate.is_admitted(*admitted)
    assert gate.gate.verdict.versions["root"] == 2


def test_the_stolen_keys_of_the_admission_service_are_worth_nothing_after_a_rotation(trusted_fleet, gate, admitted):
    thief = trusted_fleet.online(names.MODELS)
    _rotate_online(trusted_fleet)
    assert gate.gate.refresh()
    forged = Metadata.from_bytes(trusted_fleet.served[trusted_fleet.current(trusted_fleet.bin_of(PUSHED))])
    entry = trusted_fleet.entry("admitted", PUSHED, 9)
    _list(forged.signed, names.model_path(PUSHED), b"", sha256=PUSHED, length=9, custom=entry.custom())
    forged.signed.version += 1
    forged.sign(thief)
    name = names.file_name(trusted_fleet.bin_of(PUSHED), forged.signed.version)

    def name_forged(snapshot):
        snapshot.meta[f"{trusted_fleet.bin_of(PUSHED)}.json"].version = forged.signed.version

    trusted_fleet.forge(names.SNAPSHOT, name_forged)
    trusted_fleet.served[name] = forged.to_bytes()
    gate.gate.want([admitted, (PUSHED, 9)])
    found = gate.gate.verdict
    assert not gate.gate.refresh()
    assert gate.gate.verdict == found


def test_a_car_that_slept_through_two_new_roots_follows_both(trusted_fleet, gate, admitted):
    for _ in range(2):
        staged = next_root(
            trusted_fleet.metadata(names.ROOT).signed,
            now=utc_now(),
            holders={"root": ([trusted_fleet.public(name) for name in PEOPLE], 2)},
        )
        trusted_fleet.take(trusted_fleet.signed(staged))
    trusted_fleet.sign()
    assert gate.gate.refresh()
    assert gate.gate.verdict.versions["root"] == 3
    assert gate.gate.is_admitted(*admitted)
    assert gate.gate.root_fingerprint == _digest(trusted_fleet.served["1.root.json"])


def test_a_root_in_between_that_is_missing_keeps_the_car_at_the_old_one(trusted_fleet, gate, admitted):
    for _ in range(2):
        staged = next_root(trusted_fleet.metadata(names.ROOT).signed, now=utc_now())
        trusted_fleet.take(trusted_fleet.signed(staged))
    trusted_fleet.sign()
    del trusted_fleet.served["2.root.json"]
    assert gate.gate.refresh()
    assert gate.gate.verdict.versions["root"] == 1


# -- servers that waste the car's time and bytes ---------------------------------------------------------------


def test_a_file_without_end_is_cut_off(trusted_fleet, gate, admitted):
    def endless():
        while True:
            yield b"x" * 65_536

    for name, limit in (("timestamp.json", 16 * 1024), ("2.root.json", 256 * 1024)):
        before = trusted_fleet.remember()
        trusted_fleet.served[name] = endless
        received_before = gate.meter.received
        assert_refused_and_unchanged(gate, admitted, "too_large")
        assert limit < gate.meter.received - received_before < limit + 200_000
        trusted_fleet.served = before


def test_a_file_that_only_drips_is_given_up(tmp_path, trusted_fleet, monkeypatch):
    monkeypatch.setattr(fetcher, "GRACE_SECONDS", 0.2)

    def drip():
        while True:
            yield b" "
            time.sleep(0.01)

    trusted_fleet.served["timestamp.json"] = drip
    with pytest.raises(fetcher.SlowRetrieval, match=r"brought \d+ bytes in"):
        fetcher.RepositoryFetcher(trusted_fleet.origin, NetworkPolicy()).download_bytes(
            f"{trusted_fleet.origin}/api/vehicle/v1/trust/timestamp.json", 100_000
        )


def test_a_look_that_takes_too_long_ends_itself_and_says_what_it_cost(trusted_fleet, gate, admitted, monkeypatch):
    monkeypatch.setattr(look, "LOOK_SECONDS_MAX", 1.0)

    def drip():
        while True:
            yield b" "
            time.sleep(0.05)

    trusted_fleet.served["timestamp.json"] = drip
    sent_before = gate.meter.sent
    assert_refused_and_unchanged(gate, admitted, "too_slow")
    assert gate.meter.sent > sent_before


def test_a_look_that_hangs_is_ended_with_its_process(trusted_fleet, gate, admitted, monkeypatch):
    monkeypatch.setattr(look, "LOOK_SECONDS_MAX", 1.0)
    monkeypatch.setattr(look, "OVERTIME_SECONDS", 0.5)
    is_over = threading.Event()

    def hang():
        yield b" "
        is_over.wait()

    trusted_fleet.served["timestamp.json"] = hang
    assert_refused_and_unchanged(gate, admitted, "too_slow")
    is_over.set()


def test_other_servers_are_never_asked(trusted_fleet):
    with pytest.raises(DownloadError, match="is not on this car's server"):
        fetcher.RepositoryFetcher(trusted_fleet.origin, NetworkPolicy()).download_bytes(
            "http://127.0.0.1:9/timestamp.json", 10
        )


# -- tools -----------------------------------------------------------------------------------------------------


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _list(signed, path, content, *, sha256=None, length=None, custom=None):
    unknown = {"custom": custom} if custom is not None else {}
    signed.targets[path] = TargetFile(length or len(content), {"sha256": sha256 or _digest(content)}, path, unknown)


def _rotate_online(fleet):
    keys = read_bundle(fleet.admission.make())
    fleet.repository._signers = fleet.admission.signers()
    holders = {name: ([keys[name]], 1) for name in (names.SNAPSHOT, names.TIMESTAMP)}
    fleet.take(fleet.signed(next_root(fleet.metadata(names.ROOT).signed, now=utc_now(), holders=holders)))
    fleet.take(
        fleet.signed(next_targets(fleet.metadata(names.TARGETS).signed, now=utc_now(), models_key=keys[names.MODELS]))
    )
    fleet.sign()
