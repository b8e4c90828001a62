"""GET account: what the car's work has earned since its day began."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from fleetclient.signing import AnswerVerifier
from fleetclient.wire import decode_account
from fleetcompute.api.vehicle.signing import get_director
from tests.engine.factories import make_batch, make_owner
from tests.vehicle_api.signed_car import AUTHORITY, BASE, SignedCar, problem
from workunits.sql import load_sql


def earn(car: SignedCar, amount: int, *, hours_ago: float = 0.0, unit: int = 0) -> None:
    batch = make_batch(units=1)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO earning_item VALUES (%s, %s, %s, %s, %s, 1, %s)",
            [batch.id, unit, car.vehicle.owner_id, car.vehicle.id, amount, timezone.now() - timedelta(hours=hours_ago)],
        )


def ask(car: SignedCar, query: str = "", *, signed_query: str | None = None):
    car.counter += 1
    signed = car.signer.sign(
        "GET",
        f"{BASE}/account",
        created=int(time.time()),
        counter=car.counter,
        query=query if signed_query is None else signed_query,
    )
    car.last_signature = signed.signature
    path = f"{BASE}/account" + (f"?{query}" if query else "")
    return car.http.get(path, headers={**signed.headers, "Host": AUTHORITY})


def test_a_cars_own_results_since_its_day_began_are_summed_and_the_director_signs_it(car):
    other = SignedCar(make_owner(), "other")
    for amount, hours in ((100, 0.5), (20, 1.0), (3000, 30.0)):
        earn(car, amount, hours_ago=hours)
    earn(other, 7_000_000)
    since = int(time.time()) - 2 * 3600
    response = ask(car, f"since={since}")
    AnswerVerifier(get_director(settings.FLEET_DIRECTOR_KEY).public_key).verify(
        status=200, headers=response.headers, body=response.content, request_signature=car.last_signature
    )
    account = decode_account(response.content)
    assert (account.vehicle, account.since, account.gross_microcredits) == (car.vehicle.public_id, since, 120)
    assert (account.currency, account.microcredits_per_currency_unit) == (None, None)
    assert decode_account(ask(car, f"since={since - 40 * 3600}").content).gross_microcredits == 3120


def test_credits_have_a_price_where_the_operator_has_set_one(car, settings):
    earn(car, 2_500_000)
    settings.FLEET_CURRENCY, settings.FLEET_MICROCREDITS_PER_CURRENCY_UNIT = "EUR", 1_000_000
    account = decode_account(ask(car).content)
    assert (account.currency, account.gross) == ("EUR", 2.5)


def test_without_a_since_the_day_is_utcs(car):
    account = decode_account(ask(car).content)
    assert account.since == int(timezone.now().timestamp()) // 86_400 * 86_400
    assert account.gross_microcredits == 0


@pytest.mark.parametrize("since", ["", "x", "-1", "1e9", "0", "99999999999", "\u0661" * 10])
def test_a_since_that_makes_no_sense_is_named(car, since):
    from urllib.parse import quote

    response = ask(car, f"since={quote(since)}")
    assert problem(response) == (400, "malformed_request")
    assert "since" in json.loads(response.content)["detail"]


def test_the_query_is_signed(car):
    now = int(time.time())
    assert problem(ask(car, f"since={now - 9}", signed_query=f"since={now - 8}")) == (401, "signature_invalid")
    assert problem(ask(car, f"since={now - 9}", signed_query="")) == (401, "signature_invalid")


def test_a_car_that_asks_all_the_time_has_to_wait(car, monkeypatch):
    from fleetcompute.api.vehicle import account

    monkeypatch.setattr(account, "count_call", lambda _: (account.CALLS_PER_WINDOW + 1, 7))
    assert problem(ask(car)) == (429, "rate_limited")


def test_only_get_asks(car):
    assert problem(car.request("POST", "account")) == (405, "method_not_allowed")


def test_the_sum_reads_the_index_and_not_the_table(car):
    batch = make_batch(units=1)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO earning_item SELECT %s, n, 1, 10 + n %% 100, 5, 1, now() FROM generate_series(1, 20000) AS n",
            [batch.id],
        )
        cursor.execute("ANALYZE earning_item")
        cursor.execute(
            "EXPLAIN (FORMAT JSON) " + load_sql("sum_vehicle_earnings"), {"vehicle_id": 50, "since": timezone.now()}
        )
        (plan,) = cursor.fetchone()
    text = plan if isinstance(plan, str) else json.dumps(plan)
    lane = f"earning_item_{batch.lane}"
    assert f"{lane}_vehicle_id_created_at" in text
    assert f'"Seq Scan", "Parallel Aware": false, "Async Capable": false, "Relation Name": "{lane}"' not in text
