"""pair/device and pair/token: RFC 8628 as the wire tells it."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.test import Client, RequestFactory

from fleetclient.signing import AnswerVerifier, RequestSigner, pairing_key_id
from fleetcompute.api.throttles import caller_network
from fleetcompute.api.vehicle.signing import get_director
from tests.engine.factories import make_owner
from tests.vehicle_api.signed_car import AUTHORITY, BASE, problem
from workunits.models import DevicePairing, Vehicle
from workunits.pipeline.enrol import approve_pairing, deny_pairing

pytestmark = pytest.mark.django_db
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"new car").digest())
PUBLIC = KEY.public_key().public_bytes_raw()
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def start(**changes):
    content = {"public_key": PUBLIC.hex(), "name": "Blue", "agent": "fleetclient/0.1.0", **changes}
    return Client().post(f"{BASE}/pair/device", json.dumps(content), content_type="application/json")


def poll(device_code, key=KEY, counter=1, **changes):
    body = json.dumps({"grant_type": GRANT, "device_code": device_code, **changes}).encode()
    signer = RequestSigner(private_key=key, key_id=pairing_key_id(PUBLIC), authority=AUTHORITY)
    signed = signer.sign("POST", f"{BASE}/pair/token", body, created=int(time.time()), counter=counter)
    response = Client().post(
        f"{BASE}/pair/token", body, content_type="application/json", headers={**signed.headers, "Host": AUTHORITY}
    )
    return response, signed.signature


def test_a_car_is_paired_once_its_owner_approves_the_code():
    started = start().json()
    assert started["verification_uri"] == f"http://{AUTHORITY}/pair"
    assert started["verification_uri_complete"].endswith(f"?code={started['user_code']}")
    pending, _ = poll(started["device_code"])
    assert problem(pending) == (400, "authorization_pending")
    assert pending.json()["error"] == "authorization_pending"
    from django.utils import timezone

    assert started["match_number"] in DevicePairing.objects.get().match_choices
    vehicle = approve_pairing(
        user_code=started["user_code"],
        match_number=started["match_number"],
        owner_id=make_owner().id,
        now=timezone.now(),
    )
    answered, signature = poll(started["device_code"], counter=2)
    director = get_director(settings.FLEET_DIRECTOR_KEY).public_key
    AnswerVerifier(director).verify(
        status=200, headers=answered.headers, body=answered.content, request_signature=signature
    )
    assert answered.json() == {
        "vehicle_id": vehicle.public_id,
        "token_type": "httpsig",
        "access_token": vehicle.public_id,
        "scope": "contribute",
        "director_key": director.hex(),
    }


def test_only_the_holder_of_the_key_learns_the_vehicle():
    started = start().json()
    thief = Ed25519PrivateKey.from_private_bytes(bytes(32))
    response, _ = poll(started["device_code"], key=thief)
    assert problem(response) == (401, "signature_invalid")


def test_denied_too_fast_and_unknown_are_told_in_rfc_8628s_words():
    from django.utils import timezone

    started = start().json()
    poll(started["device_code"])
    too_fast, _ = poll(started["device_code"], counter=2)
    assert too_fast.json()["error"] == "slow_down"
    deny_pairing(user_code=started["user_code"], now=timezone.now())
    denied, _ = poll(started["device_code"], counter=3)
    assert denied.json()["error"] == "access_denied"
    unknown, _ = poll("nonsense")
    assert problem(unknown) == (401, "vehicle_unknown")
    assert Vehicle.objects.count() == 0


@pytest.mark.parametrize(
    "change",
    [{"public_key": "00"}, {"public_key": "zz" * 32}, {"public_key": None}, {"name": ""}, {"agent": "x" * 201}],
)
def test_a_malformed_start_makes_no_pairing(change):
    assert problem(start(**change)) == (400, "malformed_request")
    assert DevicePairing.objects.count() == 0


def test_a_body_that_is_no_json_object_is_malformed():
    for body in (b"{", b"[]", b"\xff"):
        response = Client().post(f"{BASE}/pair/device", body, content_type="application/json")
        assert problem(response) == (400, "malformed_request")


def test_a_wrong_grant_type_is_malformed():
    response, _ = poll(start().json()["device_code"], grant_type="password")
    assert problem(response) == (400, "malformed_request")


@pytest.mark.parametrize(
    ("header", "environ", "counted"),
    [
        ("", {"REMOTE_ADDR": "192.0.2.7"}, "192.0.2.7"),
        ("", {"REMOTE_ADDR": "2001:db8:1:2:3:4:5:6"}, "2001:db8:1:2::/64"),
        ("", {"REMOTE_ADDR": "2001:db8:1:2:ffff::1"}, "2001:db8:1:2::/64"),
        ("", {"REMOTE_ADDR": "::ffff:192.0.2.7"}, "192.0.2.7"),
        ("", {"REMOTE_ADDR": "192.0.2.1", "HTTP_X_REAL_IP": "192.0.2.7"}, "192.0.2.1"),
        ("X-Real-IP", {"REMOTE_ADDR": "192.0.2.1", "HTTP_X_REAL_IP": "192.0.2.7"}, "192.0.2.7"),
        ("X-Real-IP", {"REMOTE_ADDR": "192.0.2.1"}, ""),
        ("X-Real-IP", {"REMOTE_ADDR": "192.0.2.1", "HTTP_X_REAL_IP": "x" * 5000}, ""),
    ],
)
def test_a_household_is_counted_as_one_and_all_behind_a_proxy_are_not(settings, header, environ, counted):
    settings.FLEET_CLIENT_ADDRESS_HEADER = header
    assert caller_network(RequestFactory().get("/", **environ)) == counted


def test_an_address_that_starts_too_many_pairings_has_to_wait(monkeypatch):
    from fleetcompute.api.vehicle import pairing

    monkeypatch.setattr(pairing, "count_call", lambda _: (pairing.PAIRINGS_PER_WINDOW + 1, 7))
    refused = start()
    assert problem(refused) == (429, "rate_limited")
    assert DevicePairing.objects.count() == 0


def test_nobody_is_counted_while_the_cache_is_away(monkeypatch):
    from redis.exceptions import ConnectionError as CacheAway

    def fail(*_):
        raise CacheAway

    monkeypatch.setattr("fleetcompute.api.throttles.cache.add", fail)
    assert start().status_code == 200
