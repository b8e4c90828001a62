"""Whatever is changed about a signed request, it is refused and nothing changes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import RequestFactory

from fleetclient.signing import RequestSigner
from fleetcompute.api.vehicle.guard import authenticate
from fleetcompute.api.vehicle.signing import SignatureInvalid
from tests.engine.factories import make_batch, make_owner, snapshot
from tests.vehicle_api.signed_car import AUTHORITY, BASE, SignedCar, frame, idle_sync, problem


def send(car: SignedCar, **changes: Any) -> Any:
    """Sign one sync and send another: the request differs from the signature in what `changes` names."""
    car.counter += 1
    body = changes.get("signed_body", frame(idle_sync()))
    signed = car.signer.sign(
        changes.get("signed_method", "POST"),
        changes.get("signed_path", f"{BASE}/sync"),
        body,
        created=changes.get("created", int(time.time())),
        counter=changes.get("counter", car.counter),
        query=changes.get("signed_query", ""),
    )
    headers = {**signed.headers, "Host": changes.get("host", AUTHORITY), **changes.get("headers", {})}
    for old, new in changes.get("replace", {}).items():
        headers = {name: value.replace(old, new) for name, value in headers.items()}
    return car.http.generic(
        changes.get("method", "POST"),
        changes.get("path", f"{BASE}/sync"),
        changes.get("body", body),
        content_type="application/vnd.fleetcompute.frame",
        headers=headers,
    )


def test_the_request_that_the_others_are_changed_from_is_accepted(car):
    assert send(car).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"signed_method": "PUT"},
        {"signed_path": f"{BASE}/syn"},
        {"signed_path": f"{BASE}/pair/rotate"},
        {"signed_query": "a=b"},
        {"path": f"{BASE}/sync?a=b"},
        {"host": "other.testserver"},
        {"host": f"{AUTHORITY}:8443"},
        {"body": frame(idle_sync(held=["x"]))},
        {"replace": {'nonce="': 'nonce="9'}},
        {"replace": {";tag=": ";alg=none;tag="}},
        {"replace": {'"@query" ': ""}},
        {"replace": {"fleetcompute-vehicle": "fleetcompute-director"}},
        {"replace": {"sig1": "sig2"}},
        {"replace": {'keyid="veh_': 'keyid="veh_\u0430'}},
        {"headers": {"Signature": "sig1=:AAAA:"}},
        {"headers": {"Signature": "sig1=:" + "A" * 86 + "==:"}},
        {"headers": {"Content-Digest": "sha-512=:AAAA:"}},
    ],
    ids=str,
)
def test_a_request_with_anything_changed_is_refused_and_changes_nothing(car, changes, settings):
    settings.ALLOWED_HOSTS = ["*"]
    batch = make_batch()
    before = snapshot(batch)
    response = send(car, **changes)
    assert problem(response) in ((401, "signature_invalid"), (401, "signature_missing"))
    assert snapshot(batch) == before


@pytest.mark.parametrize("age", [-299, 0, 119 + 299])
def test_a_signature_within_its_time_is_accepted(car, age):
    assert send(car, created=int(time.time()) - age).status_code == 200


@pytest.mark.parametrize("age", [-303, 121 + 301, 86_400])
def test_a_signature_outside_its_time_is_refused_and_changes_nothing(car, age):
    batch = make_batch()
    before = snapshot(batch)
    assert problem(send(car, created=int(time.time()) - age)) == (401, "signature_expired")
    assert snapshot(batch) == before


def test_a_signature_that_would_hold_for_longer_is_refused(car, monkeypatch):
    monkeypatch.setattr("fleetclient.signing.REQUEST_SECONDS_MAX", 121)
    assert problem(send(car)) == (401, "signature_invalid")


def test_a_car_cannot_sign_for_another_car(car):
    other = SignedCar(make_owner(), "other")
    other.signer = RequestSigner(private_key=other.key, key_id=car.vehicle.public_id, authority=AUTHORITY)
    batch = make_batch()
    before = snapshot(batch)
    assert problem(send(other)) == (401, "signature_invalid")
    assert snapshot(batch) == before


@pytest.mark.parametrize("authority", ["evil.example", "testserver@evil.example"])
def test_what_a_car_signed_for_somebody_elses_server_is_refused_here(car, authority):
    """Cars do not pass through the middleware that looks at Host: a server that a car trusts too could pass it on."""
    signer = RequestSigner(private_key=car.key, key_id=car.vehicle.public_id, authority=authority)
    signed = signer.sign("GET", f"{BASE}/account", b"", created=int(time.time()), counter=1)
    request = RequestFactory().get(f"{BASE}/account", headers={**signed.headers, "Host": authority})
    with pytest.raises(SignatureInvalid, match="not for this server"):
        authenticate(request, bytes_max=0)
