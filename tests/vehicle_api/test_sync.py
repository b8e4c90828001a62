"""POST sync: what an honest car gets, and what every kind of bad input gets, with nothing changed."""

from __future__ import annotations

import json
import time

import pytest

from tests.engine.factories import honest_output, make_batch, make_owner, rows_of, snapshot
from tests.vehicle_api.signed_car import AUTHORITY, BASE, SignedCar, commitment, frame, idle_sync, problem
from workunits.models import VehiclePresence
from workunits.pipeline.enrol import revoke_vehicle


def test_a_sync_is_answered_with_leases_contracts_and_a_pace_all_signed(car):
    batch = make_batch(units=2)
    capacity = {"replicas": 2, "memory_bytes": 10_000, "opset_max": 23}
    answer = car.verified(car.sync(idle_sync(capacity=capacity)))
    assert [lease["rows"] for lease in answer["leases"]] == [2, 2]
    assert answer["contracts"] == {"c1": batch.contract}
    assert {lease["contract"] for lease in answer["leases"]} == {"c1"}
    assert sorted(lease["input"]["range"] for lease in answer["leases"]) == [[0, 10], [10, 20]]
    assert 12.0 <= answer["next_sync_seconds"] <= 18.0
    presence = VehiclePresence.objects.get(vehicle=car.vehicle)
    assert (presence.counter, presence.eligible, presence.memory_bytes, presence.opset_max) == (1, True, 10_000, 23)


def test_an_inline_output_is_stored_and_its_token_says_nothing(car):
    make_batch(units=1)
    lease = car.lease()[0]
    assert len(lease["token"]) == 22
    output = honest_output()
    answer = car.verified(car.sync(idle_sync(commitments=[commitment(lease, output)]), output))
    assert answer["outcomes"] == [{"token": lease["token"], "code": "stored"}]
    assert [bytes(row["output"]) for row in rows_of("replica")] == [output]


def test_an_answer_is_bound_to_its_request(car):
    first = car.sync()
    car.sync()
    from fleetclient.signing import DirectorSignatureInvalid

    with pytest.raises(DirectorSignatureInvalid):
        car.verified(first)


@pytest.mark.parametrize("missing", ["Content-Digest", "Signature-Input", "Signature"])
def test_an_unsigned_request_is_refused(car, missing):
    batch = make_batch()
    before = snapshot(batch)
    assert problem(car.sync(**{missing: ""})) == (401, "signature_missing")
    assert snapshot(batch) == before


def test_a_signature_by_another_key_is_refused_and_changes_nothing(car):
    batch = make_batch()
    other = SignedCar(make_owner(), "other")
    other.signer = type(other.signer)(private_key=other.key, key_id=car.vehicle.public_id, authority="testserver")
    before = snapshot(batch)
    assert problem(other.sync()) == (401, "signature_invalid")
    assert snapshot(batch) == before


def test_a_body_that_differs_from_its_digest_is_refused(car):
    batch = make_batch()
    before = snapshot(batch)
    assert problem(car.sync(Content_Digest="sha-256=:AAAA:")) == (401, "signature_invalid")
    assert snapshot(batch) == before


def test_a_signature_from_long_ago_is_refused_with_the_servers_date(car, monkeypatch):
    now = time.time()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now - 3600)
        body = frame(idle_sync())
        signed = car.signer.sign("POST", f"{BASE}/sync", body, created=int(time.time()), counter=9)
    response = car.http.post(f"{BASE}/sync", body, content_type="x/y", headers={**signed.headers, "Host": AUTHORITY})
    assert problem(response) == (401, "signature_expired")


def test_an_unknown_and_a_revoked_vehicle_are_told_apart(car):
    assert revoke_vehicle(vehicle_id=car.vehicle.id, owner_id=car.vehicle.owner_id, now=car.vehicle.paired_at)
    assert problem(car.sync()) == (403, "vehicle_revoked")
    car.signer = type(car.signer)(private_key=car.key, key_id="veh_nobody", authority="testserver")
    assert problem(car.sync()) == (401, "vehicle_unknown")


def test_a_replayed_request_is_refused_and_changes_nothing(car):
    batch = make_batch()
    car.lease()
    before = snapshot(batch)
    car.counter -= 1
    assert problem(car.sync()) == (409, "counter_replayed")
    assert snapshot(batch) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"FLT1",
        b"FLT2\0\0\0\x02{}",
        b"FLT1\0\0\0\xff{}",
        b"FLT1\xff\xff\xff\xff{}",
        b"FLT1\0\0\0\x02{]",
        b"FLT1\0\0\0\x02[]",
        frame({"protocol": 2}),
        frame({}),
    ],
)
def test_a_malformed_frame_is_refused_and_changes_nothing(car, body):
    batch = make_batch()
    before = snapshot(batch)
    assert problem(car.sync(body)) == (400, "malformed_request")
    assert snapshot(batch) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"agent": None}, "agent"),
        ({"agent": {"version": 1, "runtime": "", "class": ""}}, "agent.version"),
        ({"agent": {"version": "1", "runtime": "", "class": ""}}, "agent.class"),
        ({"agent": {"version": "1", "runtime": "", "class": "*"}}, "agent.class"),
        ({"state": {"eligible": "yes", "reasons": []}}, "state.eligible"),
        ({"state": {"eligible": True, "reasons": [1]}}, "state.reasons"),
        ({"state": {"eligible": True, "reasons": ["a\0b"]}}, "state.reasons"),
        ({"capacity": {"replicas": -1, "memory_bytes": 1, "opset_max": 1}}, "capacity.replicas"),
        ({"capacity": {"replicas": True, "memory_bytes": 1, "opset_max": 1}}, "capacity.replicas"),
        ({"capacity": {"replicas": 1, "memory_bytes": 2**61, "opset_max": 1}}, "capacity.memory_bytes"),
        ({"models": "all"}, "models"),
        ({"held": ["x"] * 1001}, "held"),
        ({"commitments": [1]}, "commitments"),
        ({"commitments": [{"token": "t", "digest": "zz", "bytes": 1, "seconds": 0}]}, "commitments.digest"),
        ({"commitments": [{"token": "t", "digest": "00", "bytes": 1, "seconds": 0}]}, "commitments.digest"),
        (
            {"commitments": [{"token": "t", "digest": "00" * 32, "bytes": 9, "inline": [0, 9], "seconds": 0}]},
            "commitments.inline",
        ),
        ({"commitments": [{"token": "t", "digest": "00" * 32, "bytes": 1, "seconds": "1"}]}, "commitments.seconds"),
        ({"returned": [{"token": "t", "kind": "lost", "reason": "driving"}]}, "returned.kind"),
        ({"returned": [{"token": "t", "kind": "returned", "reason": "bored"}]}, "returned.reason"),
    ],
)
def test_a_wrong_field_is_named_and_changes_nothing(car, change, named):
    batch = make_batch()
    before = snapshot(batch)
    response = car.sync(idle_sync(**change))
    assert problem(response) == (400, "malformed_request")
    assert named in json.loads(response.content)["detail"]
    assert snapshot(batch) == before


def test_a_body_over_the_limit_is_refused_before_it_is_read(car):
    batch = make_batch()
    before = snapshot(batch)
    signed = car.signer.sign("POST", f"{BASE}/sync", b"", created=int(time.time()), counter=5)
    response = car.http.generic(
        "POST",
        f"{BASE}/sync",
        b"",
        headers=signed.headers,
        CONTENT_LENGTH=str(17 * 1024 * 1024),
    )
    assert problem(response) == (413, "body_too_large")
    assert snapshot(batch) == before


def test_each_wrong_token_gets_its_own_code_while_the_rest_of_the_sync_counts(car):
    make_batch(units=2)
    thief = SignedCar(make_owner(), "thief")
    stolen, good = car.lease()[0], thief.lease()[0]
    output = honest_output()
    wrong_digest = {**commitment(good, output), "digest": "11" * 32}
    items = [commitment(stolen, output), {**commitment(good, output), "token": "B" * 22}, wrong_digest]
    answer = thief.verified(thief.sync(idle_sync(commitments=items, held=[good["token"]]), output))
    assert [item["code"] for item in answer["outcomes"]] == [
        "replica_not_yours",
        "replica_unknown",
        "output_digest_mismatch",
    ]
    assert {row["state"] for row in rows_of("replica")} == {"LEASED"}
    answer = thief.verified(thief.sync(idle_sync(commitments=[commitment(good, output)]), output))
    assert answer["outcomes"] == [{"token": good["token"], "code": "stored"}]


def test_sync_takes_only_post(car):
    assert problem(car.request("GET", "sync")) == (405, "method_not_allowed")


def test_odd_but_legal_numbers_are_taken_as_they_are(car):
    make_batch(units=1)
    lease = car.lease()[0]
    output = honest_output()
    tiny = {**commitment(lease, output), "seconds": 1e-320}
    answer = car.verified(car.sync(idle_sync(commitments=[tiny]), output))
    assert answer["outcomes"] == [{"token": lease["token"], "code": "stored"}]


def test_a_negative_content_length_is_malformed(car):
    signed = car.signer.sign("POST", f"{BASE}/sync", b"", created=int(time.time()), counter=5)
    response = car.http.generic("POST", f"{BASE}/sync", b"", headers=signed.headers, CONTENT_LENGTH="-5")
    assert problem(response) == (400, "malformed_request")


def test_a_reason_longer_than_its_column_is_cut_and_the_car_is_not_lost(car):
    car.verified(car.sync(idle_sync(state={"eligible": False, "reasons": ["x" * 120, "driving"]})))
    assert VehiclePresence.objects.get(vehicle=car.vehicle).reasons == ["x" * 40, "driving"]
