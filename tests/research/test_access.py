"""Who may call: keys, scopes, rates; and the errors that no resource makes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone


def test_me_says_who_calls(caller) -> None:
    from workunits.models import ApiKey
    from workunits.selectors.keys import SCOPES

    body = caller.get("/me").json()
    key = ApiKey.objects.get()
    assert body["project"] == {"id": caller.project.public_id, "name": caller.project.name}
    assert body["api_key"] == {"id": key.public_id, "name": "test", "prefix": caller.key[:24], "expires_at": None}
    assert body["scopes"] == sorted(SCOPES)
    assert key.last_used_at is not None


def test_a_call_without_a_key_is_refused(db) -> None:
    answer = Client().get("/api/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_missing")
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("value", ["Bearer nonsense", "Basic abc", "Bearer", "Bearer fleet_sk_live_" + "x" * 42])
def test_a_wrong_key_is_refused(db, value) -> None:
    answer = Client().get("/api/v1/me", headers={"Authorization": value})
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_invalid")


def test_a_key_with_a_right_prefix_and_a_wrong_end_is_refused(caller) -> None:
    caller.key = caller.key[:-1] + ("a" if caller.key[-1] != "a" else "b")
    assert caller.get("/me").json()["code"] == "api_key_invalid"


@pytest.mark.parametrize("member", ["revoked_at", "expires_at"])
def test_a_key_that_has_ended_is_refused(caller, member) -> None:
    from workunits.models import ApiKey

    ApiKey.objects.update(**{member: timezone.now() - timedelta(seconds=1)})
    assert caller.get("/me").json()["code"] == "api_key_invalid"


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("models:read", "get", "/models"),
        ("models:write", "post", "/models"),
        ("datasets:write", "post", "/datasets"),
        ("batches:read", "get", "/batches"),
        ("batches:write", "post", "/batches"),
        ("results:read", "get", "/batches/bat_x/results"),
    ],
)
def test_each_resource_wants_its_scope(make_caller, scope, method, path) -> None:
    from workunits.selectors.keys import SCOPES

    without = make_caller(tuple(name for name in SCOPES if name != scope))
    answer = getattr(without, method)(path)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert scope in answer.json()["detail"]


def test_the_secret_itself_is_not_kept(caller) -> None:
    from workunits.models import ApiKey

    kept = ApiKey.objects.values().get()
    assert all(caller.key not in str(value) for value in kept.values())


def test_calls_are_counted_and_cut_off(caller, monkeypatch) -> None:
    from fleetcompute.api import throttles

    monkeypatch.setattr(throttles, "REQUESTS_PER_WINDOW", 2)
    monkeypatch.setattr("fleetcompute.api.throttles.time.time", lambda: 1_000_000.0)
    left = [caller.get("/me")["RateLimit"].split(";")[1] for _ in range(2)]
    assert left == ["r=1", "r=0"]
    answer = caller.get("/me")
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert answer.json()["retryable"] is True
    assert int(answer["Retry-After"]) > 0


def test_an_unknown_address_is_a_problem_document(caller) -> None:
    answer = caller.get("/nothing")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_found"


def test_a_wrong_method_is_a_problem_document(caller) -> None:
    answer = caller.client.delete("/api/v1/me", headers={"Authorization": f"Bearer {caller.key}"})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_any_accept_header_gets_json(caller) -> None:
    assert caller.get("/me", Accept="text/html").status_code == 200
