"""The plans of the hot statements, on tables large enough for the planner to choose, and the statements of a sync."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.engine.factories import NOW, Car, known, make_batch, make_owner, make_vehicle, rows_of
from workunits.sql import load_sql
from workunits.store import leases as leases_store
from workunits.store.db import call_function

pytestmark = pytest.mark.django_db
UNITS = 20_000


@pytest.fixture
def large_batch():
    """A batch of 20,000 units, each with a validated replica and half of them with one that is leased."""
    batch = make_batch(units=UNITS)
    owners = [make_owner().id for _ in range(3)]
    vehicle = make_vehicle()
    with connection.cursor() as cursor:
        for owner_id in owners[:2]:
            cursor.execute(
                "INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at)"
                " SELECT %s, n, %s, %s, 2, %s, %s::timestamptz + interval '1 hour' FROM generate_series(0, %s) AS n",
                [batch.id, owner_id, vehicle.id, NOW, NOW, UNITS - 1],
            )
        cursor.execute("UPDATE unit SET needed = 0 WHERE batch_id = %s AND number < %s", [batch.id, UNITS // 2])
        cursor.execute(
            "INSERT INTO review (batch_id, unit_number) SELECT %s, n FROM generate_series(0, 4999) AS n", [batch.id]
        )
        cursor.execute("ANALYZE unit, replica, review, earning_item, vehicle_presence, vehicle, batch, batch_progress")
    return batch


def explain(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {load_sql(name)}", parameters)
        (plan,) = cursor.fetchone()
    return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]  # type: ignore[no-any-return]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def hot_scans(plan: dict[str, Any], tables: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Return (node, relation, index) of every scan of a lane of these tables."""
    return [
        (node["Node Type"], node.get("Relation Name", ""), node.get("Index Name", ""))
        for node in nodes(plan)
        if "Scan" in node["Node Type"] and str(node.get("Relation Name", "")).rsplit("_", 1)[0] in tables
    ]


def rows_touched(plan: dict[str, Any], tables: tuple[str, ...]) -> int:
    """Return how many rows of these tables the plan's scans gave out, those filtered away included."""
    return int(
        sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in nodes(plan)
            if str(node.get("Relation Name", "")).rsplit("_", 1)[0] in tables and "Scan" in node["Node Type"]
        )
    )


# What the function takes apart, one element a batch, before it runs the leasing statement.
LEASE_ARRAYS = {
    "batch_id": "batches", "cursor": "cursors", "start": "starts", "known": "knowns", "audits_by": "audits_by",
    "audits_max": "audits_max",
}  # fmt: skip


def captured_parameters(monkeypatch, action) -> dict[str, Any]:
    """Return the parameters of the last sync that `action` makes, as the statements inside its function see them."""
    seen: dict[str, Any] = {}

    def note(name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        seen.clear()
        seen.update(parameters)
        return call_function(name, parameters)

    monkeypatch.setattr(leases_store, "call_function", note)
    action()
    first = {name: (seen[f"lease_{plural}"] or [None])[0] for name, plural in LEASE_ARRAYS.items()}
    return {**seen, **first, "turn": 1}


def owned_by(owner_id: int) -> dict[str, Any]:
    return {"owner_id": owner_id, "cluster_owners": [owner_id]}


def test_leasing_reads_a_short_range_of_its_indexes_however_large_the_batch(large_batch, monkeypatch):
    car = Car()
    seen = captured_parameters(monkeypatch, lambda: car.lease(10))
    plan = explain("lease_replicas", {**seen, **owned_by(make_owner().id)})
    scans = hot_scans(plan, ("unit", "replica"))
    assert scans
    assert all("Index" in node for node, _, _ in scans), scans
    lane = large_batch.lane
    assert {relation for _, relation, _ in scans} == {f"unit_{lane}", f"replica_{lane}"}
    indexes = " ".join(index for _, _, index in scans)
    assert f"unit_{lane}_batch_id_place_idx" in indexes  # unit_leasable and its neighbours, by their lane's name
    assert f"replica_{lane}_pkey" in indexes
    assert rows_touched(plan, ("unit", "replica")) < 300


def test_a_owner_that_did_half_the_batch_costs_no_more(large_batch, monkeypatch):
    busy = rows_of("replica", batch_id=large_batch.id, unit_number=0)[0]["owner_id"]
    car = Car()
    seen = captured_parameters(monkeypatch, lambda: car.lease(10))
    plan = explain("lease_replicas", {**seen, **owned_by(busy)})
    assert rows_touched(plan, ("unit", "replica")) < 300


def test_recording_a_sync_finds_each_replica_by_its_key(large_batch, monkeypatch):
    car = Car()
    car.lease(10)
    seen = captured_parameters(monkeypatch, car.report_all)
    counter = known(car.vehicle).counter
    plan = explain("record_sync", {**seen, "counter_seen": counter, "counter": counter + 1})
    scans = hot_scans(plan, ("replica",))
    lane = large_batch.lane
    assert {(relation, index) for _, relation, index in scans} == {(f"replica_{lane}", f"replica_{lane}_pkey")}
    assert all("Index" in node for node, _, _ in scans), scans
    assert rows_touched(plan, ("replica",)) < 100


def test_validation_reads_what_is_queued_by_its_keys(large_batch):
    batch_id, lane = large_batch.id, large_batch.lane
    plan = explain("lock_reviewed_units", {"batch_id": batch_id, "reviews_max": 500, "only": None})
    scans = hot_scans(plan, ("unit", "review"))
    assert {index for _, _, index in scans} == {f"unit_{lane}_pkey", f"review_{lane}_pkey"}
    assert rows_touched(plan, ("unit", "review")) <= 1000
    plan = explain("list_replicas_of_units", {"batch_id": batch_id, "units": list(range(500))})
    assert {index for _, _, index in hot_scans(plan, ("replica",))} == {f"replica_{lane}_pkey"}
    assert rows_touched(plan, ("replica",)) == 1000


def test_writing_verdicts_touches_only_their_rows(large_batch):
    batch_id, lane = large_batch.id, large_batch.lane
    units = list(range(100))
    plan = explain(
        "apply_verdicts",
        {
            "batch_id": batch_id,
            "verdict_number": 1,
            "now": NOW,
            "replica_units": units,
            "replica_owners": [row["owner_id"] for row in rows_of("replica", batch_id=batch_id, unit_number=0)][:1]
            * 100,
            "is_audited": True,
            "replica_states": ["CANCELLED"] * 100,
            "replica_roles": [0] * 100,
            "decided_units": units,
            "decided_states": ["FAILED"] * 100,
            "decided_owners": [None] * 100,
            "decided_reasons": ["because"] * 100,
            "decided_finals": [False] * 100,
            "decided_needs": [0] * 100,
            "decided_confirmed": [0] * 100,
            "changed_units": [],
            "changed_needs": [],
            "changed_confirmed": [],
            "changed_adopts": [],
            "changed_finals": [],
            "asked_units": [],
            "asked_owners": [],
            "audits": "[]",
            "review_ids": [2**40] * 100,
        },
    )
    scans = hot_scans(plan, ("unit", "replica"))
    assert {relation for _, relation, _ in scans} == {f"unit_{lane}", f"replica_{lane}"}
    assert all("Index" in node for node, _, _ in scans), scans


@pytest.mark.parametrize("count", [1, 10, 50])
def test_a_sync_costs_the_same_few_statements_whatever_it_reports_and_leases(count):
    make_batch(units=300)
    car = Car()
    car.lease(count)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        car.report_all(want=count)
    statements = [
        query["sql"].split()[0] for query in captured if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))
    ]
    # Who it is; the dispatch board (once a second in production); one call that records and leases, by a statement
    # each. Contracts and lanes are remembered by the process.
    assert len(statements) - 1 <= 2, captured.captured_queries
    assert len(car.held) == count
