"""The plans of the statements about audits, on tables large enough for the planner to choose."""

from __future__ import annotations

import json

import pytest
from django.db import connection

from tests.engine.audit_rows import make_audited_batch, put_replica
from tests.engine.factories import NOW, later, make_batch, make_vehicle
from tests.engine.test_plans import explain, hot_scans, nodes, rows_touched
from workunits.models import AnchorRun, Audit

pytestmark = pytest.mark.django_db
UNITS = 20_000


@pytest.fixture
def audited_batch():
    """A batch of 20,000 units with a believed result each, 50 open audits, 5,000 passed ones and 500 anchors' runs."""
    batch = make_audited_batch(units=UNITS)
    vehicle = make_vehicle()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at, state,"
            " committed_at, reported_at, ended_at, commitment, output_digest, output)"
            " SELECT %s, n, %s, %s, 2, %s, %s, 'VALID', %s, %s, %s, 'c', 'd', 'o' FROM generate_series(0, %s) AS n",
            [batch.id, vehicle.owner_id, vehicle.id, NOW, later(9), NOW, NOW, NOW, UNITS - 1],
        )
        cursor.execute(
            "UPDATE unit SET state = 'VALIDATED', needed = 0, canonical_owner_id = %s, decided_at = %s"
            " WHERE batch_id = %s",
            [vehicle.owner_id, NOW, batch.id],
        )
        cursor.execute(
            "INSERT INTO audit (batch_id, unit_number, vehicle_id, owner_id, sequence, level, weight_microcredits,"
            " reason, needs, state, created_at, opens_at, resolved_at, primary_class, auditor_class, stage, detail)"
            " SELECT %s, n, %s, %s, n + 1, 2, 50, 'drawn', 'car', CASE WHEN n < 50 THEN 'open' ELSE 'passed' END, %s,"
            " %s, CASE WHEN n >= 50 THEN %s::timestamptz END, '', '', '', '' FROM generate_series(0, 5049) AS n",
            [batch.id, vehicle.id, vehicle.owner_id, NOW, NOW, NOW],
        )
        cursor.execute(
            "INSERT INTO anchor_run (batch_id, unit_number, reason, state, attempts, created_at, claimed_by, done_at,"
            " resolved_at, comparison_class, output_digest, output_blob, error)"
            " SELECT %s, n, 'floor', 'done', 1, %s, '', %s, %s, '', 'd', 'b', '' FROM generate_series(6000, 6499) AS n",
            [batch.id, NOW, NOW, NOW],
        )
        cursor.execute("ANALYZE unit, replica, audit, anchor_run, review, batch")
    return batch


def scans_of(plan, table):
    return [
        (node["Node Type"], node.get("Index Name", ""))
        for node in nodes(plan)
        if str(node.get("Relation Name", "")) == table and "Scan" in node["Node Type"]
    ]


def test_the_audits_of_a_drain_are_found_by_their_units(audited_batch):
    plan = explain("list_audits_of_units", {"batch_id": audited_batch.id, "units": list(range(100))})
    assert all("Seq" not in kind for kind, _ in scans_of(plan, "audit")), scans_of(plan, "audit")
    assert rows_touched(plan, ("audit",)) < 200
    assert plan["Actual Rows"] == 50


def test_the_sweep_reads_open_audits_and_no_others(audited_batch):
    plan = explain(
        "list_audits_to_escalate", {"overdue_before": NOW, "held_before": NOW, "has_anchor": True, "audits_max": 500}
    )
    assert {index for _, index in scans_of(plan, "audit")} <= {"audit_open", "audit_one_open_per_unit"}
    assert all("Seq" not in kind for kind, _ in scans_of(plan, "audit"))
    assert plan["Actual Rows"] == 50


def test_ended_runs_are_found_by_their_index(audited_batch):
    AnchorRun.objects.create(
        batch=audited_batch, unit_number=1, reason="dispute", state="failed", created_at=NOW, error="x"
    )
    plan = explain("list_runs_to_resolve", {"runs_max": 200})
    assert {index for _, index in scans_of(plan, "anchor_run")} == {"anchor_run_to_resolve"}
    assert plan["Actual Rows"] == 1


def test_the_queue_of_batches_is_read_by_jumps_however_long_it_is(audited_batch):
    others = [make_batch(units=1) for _ in range(3)]
    with connection.cursor() as cursor:
        for batch in (audited_batch, *others):
            cursor.execute(
                "INSERT INTO review (batch_id, unit_number) SELECT %s, 0 FROM generate_series(1, 3000)", [batch.id]
            )
        cursor.execute("ANALYZE review")
    plan = explain("list_batches_to_review", {})
    assert plan["Actual Rows"] == 4
    assert all("Seq" not in kind for kind, _, _ in hot_scans(plan, ("review",)))
    assert rows_touched(plan, ("review",)) < 200


def test_opening_audits_touches_only_their_units(audited_batch):
    told = [
        {"unit_number": n, "owner_id": 1, "vehicle_id": 1, "sequence": 1, "level": 2, "weight": 50, "reason": "forced"}
        | {"needs": "car", "opens_at": NOW.isoformat(), "primary_class": ""}
        for n in range(10_000, 10_050)
    ]
    parameters = {"batch_id": audited_batch.id, "audits": json.dumps(told), "now": NOW}
    plan = explain("open_audits", parameters)
    scans = hot_scans(plan, ("unit", "replica"))
    assert scans
    assert all("Index" in kind for kind, _, _ in scans), scans
    assert rows_touched(plan, ("unit", "replica")) < 500


def test_a_drain_of_believed_results_is_four_statements(django_assert_num_queries):
    batch = make_audited_batch(units=20)
    vehicle = make_vehicle()
    for number in range(20):
        put_replica(batch, unit=number, vehicle=vehicle, drawn=number % 5 == 0)
    from workunits.pipeline.drain import drain_batch

    # Savepoint and its release; the lock, the units, their replicas, the verdicts; the batch moves on.
    with django_assert_num_queries(7):
        drain_batch(batch_id=batch.id, now=NOW)
    assert Audit.objects.count() == 4
