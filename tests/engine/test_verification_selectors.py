"""What pages and API read of verification: numbers that sum, and plans that stay small on large tables."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection

from tests.engine.audit_rows import AUDIT, make_audited_batch, put_replica
from tests.engine.factories import NOW, later, make_batch, make_vehicle
from tests.engine.test_plans import explain, nodes, rows_touched
from workunits.models import Audit, Batch, BatchProgress
from workunits.selectors.disagreements import DISAGREEMENTS_SHOWN, DisagreementFilter, list_disagreements
from workunits.selectors.verification import (
    UNITS_SAMPLED,
    AuditCounts,
    RowFinality,
    forget_parties,
    get_verification,
    list_verifications,
)
from workunits.store.anchors import note_machine

pytestmark = pytest.mark.django_db
UNITS = 20_000
HOT = ("unit_", "replica_")


def put_audit(batch, vehicle, state: str, reason: str = "drawn", needs: str = "car", **columns) -> None:
    Audit.objects.create(
        batch=batch, unit_number=columns.pop("unit", 0), vehicle=vehicle, owner_id=vehicle.owner_id, sequence=1,
        level=2, weight_microcredits=1, reason=reason, needs=needs, state=state, created_at=NOW, opens_at=NOW,
        resolved_at=None if state == "open" else NOW, **columns,
    )  # fmt: skip


def plan_of(rows) -> dict[str, Any]:
    sql, parameters = rows.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
        (plan,) = cursor.fetchone()
    return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]  # type: ignore[no-any-return]


@pytest.fixture
def large_batch():
    """A batch of 20,000 units with a result each, a fifth of them audited: 3,960 passed, 40 not."""
    batch = make_audited_batch(units=UNITS)
    first, second = make_vehicle(), make_vehicle()
    with connection.cursor() as cursor:
        for vehicle, role, step in ((first, 0, 1), (second, 1, 5)):
            cursor.execute(
                "INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at, state,"
                " committed_at, reported_at, ended_at, commitment, output_digest, output, role)"
                " SELECT %s, n, %s, %s, 2, %s, %s, 'VALID', %s, %s, %s, 'c', 'd', 'o', %s"
                " FROM generate_series(0, %s, %s) AS n",
                [batch.id, vehicle.owner_id, vehicle.id, NOW, later(9), NOW, NOW, NOW, role, UNITS - 1, step],
            )
        cursor.execute(
            "UPDATE unit SET state = 'VALIDATED', needed = 0, canonical_owner_id = %s, decided_at = %s"
            " WHERE batch_id = %s",
            [first.owner_id, NOW, batch.id],
        )
        cursor.execute(
            "INSERT INTO audit (batch_id, unit_number, vehicle_id, owner_id, sequence, level, weight_microcredits,"
            " reason, needs, state, created_at, opens_at, resolved_at, primary_class, auditor_class, stage, detail)"
            " SELECT %s, n, %s, %s, n + 1, 2, 50, 'drawn', 'car', CASE n %% 500 WHEN 0 THEN 'failed' ELSE 'passed' END,"
            " %s, %s, %s, '', '', 'digest', '' FROM generate_series(0, %s, 5) AS n",
            [batch.id, first.id, first.owner_id, NOW, NOW, NOW, UNITS - 1],
        )
    # What an index has all of is read from it alone once the table was vacuumed; a test cannot, in its transaction.
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE unit, replica, audit, batch, vehicle, model")
    return batch


def test_audits_about_others_are_not_counted_as_the_batchs_own():
    batch, car = make_audited_batch(), make_vehicle()
    for state in ("passed", "passed", "failed", "inconclusive", "void"):
        put_audit(batch, car, state)
    put_audit(batch, car, "open", unit=1)
    for reason in ("auditing", "known"):
        put_audit(batch, car, "failed", reason)
    assert get_verification(batch, now=NOW).audits == AuditCounts(run=4, open=1, passed=2, failed=1, inconclusive=1)


@pytest.mark.parametrize(
    ("level", "needs", "held", "cause"),
    [
        ("economy", "car", 10.0, None),
        ("standard", "anchor", 50.0, None),
        ("standard", "car", 19.0, "audited_by_cars"),
        ("strict", "car", 19.0, "audited_by_cars"),
    ],
)
def test_the_bound_is_that_of_what_was_done_where_cars_stood_in_for_anchors(level, needs, held, cause):
    note_machine("desk", NOW)
    batch = make_audited_batch(level)
    put_audit(batch, make_vehicle(), "passed", "young", needs)
    found = get_verification(batch, now=NOW)
    assert found.factor_held == pytest.approx(held)
    assert found.expected_wrong_share == pytest.approx(0.05 / held)
    assert found.weaker_because == cause


@pytest.mark.parametrize(
    ("machine", "rows_final", "held"),
    [(None, 0, 19.0), ("out of order", 0, 19.0), ("", 0, 50.0), (None, 2, 50.0)],
)
def test_without_an_anchor_the_bound_is_that_of_cars_until_all_is_final(machine, rows_final, held):
    if machine is not None:
        note_machine("desk", NOW, problem=machine)
    batch = make_audited_batch()
    BatchProgress.objects.filter(batch=batch).update(rows_validated=2, rows_final=rows_final)
    if rows_final:
        Batch.objects.filter(id=batch.id).update(status="completed", outcome="full", ended_at=NOW)
    batch = Batch.objects.select_related("progress").get(id=batch.id)
    found = get_verification(batch, now=NOW)
    assert found.factor_held == pytest.approx(held)
    assert found.weaker_because == ("no_anchor" if held < 50 else None)


def test_a_quorum_states_no_bound():
    found = get_verification(make_batch(), now=NOW)
    assert (found.audit_factor, found.factor_held, found.expected_wrong_share) == (None, None, None)


def test_replication_counts_every_run_of_units_that_have_a_result():
    batch = make_audited_batch(units=4)
    assert get_verification(batch, now=NOW).replication is None
    car = put_replica(batch, unit=0, state="VALID")
    put_replica(batch, unit=0, state="VALID", role=AUDIT)
    put_replica(batch, unit=1, state="VALID", vehicle=car, sequence=2)
    put_replica(batch, unit=2, state="REPORTED")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE unit SET state = 'VALIDATED', needed = 0, decided_at = %s, canonical_owner_id = %s"
            " WHERE batch_id = %s AND number < 2",
            [NOW, car.owner_id, batch.id],
        )
    assert get_verification(batch, now=NOW).replication == 1.5


def test_rows_are_provisional_or_final():
    batch = make_audited_batch(units=4)
    BatchProgress.objects.filter(batch=batch).update(rows_validated=6, rows_final=2, rows_revoked=3)
    batch.refresh_from_db()
    assert get_verification(batch, now=NOW).rows == RowFinality(provisional=4, final=2, revoked=3)


def test_many_batches_cost_what_one_does(django_assert_num_queries):
    batches = [make_audited_batch(units=1) for _ in range(5)]
    rows = list(Batch.objects.filter(id__in=[batch.id for batch in batches]).select_related("progress"))
    forget_parties()
    with django_assert_num_queries(7):
        assert len(list_verifications(rows, now=NOW)) == 5
    # Who is at work is remembered for a while.
    with django_assert_num_queries(6):
        assert len(list_verifications(rows, now=NOW)) == 5


def test_replication_of_a_large_batch_reads_a_sample_by_its_keys(large_batch):
    plan = explain("count_executions", {"batches": [large_batch.id], "units_max": UNITS_SAMPLED})
    # Lanes that hold no asked batch are in the plan and are not run.
    run = [node for node in nodes(plan) if "Scan" in node["Node Type"] and node["Actual Loops"]]
    hot = {node["Index Name"].rsplit("_", 2)[0] for node in run if node.get("Relation Name", "").startswith(HOT)}
    assert hot == {"unit", "replica"}
    assert rows_touched(plan, ("unit", "replica")) <= 2 * 1.2 * UNITS_SAMPLED + 10
    assert get_verification(large_batch, now=NOW).replication == pytest.approx(1.2, abs=0.001)


def test_counts_of_audits_need_the_index_alone(large_batch):
    rows = Audit.objects.filter(batch_id__in=[large_batch.id]).values_list("batch_id", "state", "reason", "needs")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    indexes = {node.get("Index Name") for node in nodes(plan_of(rows.order_by()))}
    assert "audit_by_batch" in indexes


def test_disagreements_are_found_by_their_index_among_many_that_agree(large_batch):
    shown, has_more = list_disagreements(DisagreementFilter())
    assert (len(shown), has_more) == (40, False)
    from workunits.selectors.disagreements import _filtered

    plan = plan_of(_filtered(DisagreementFilter()).order_by("-id")[: DISAGREEMENTS_SHOWN + 1])
    scans = {
        (node["Node Type"], node.get("Index Name")) for node in nodes(plan) if node.get("Relation Name") == "audit"
    }
    assert scans == {("Index Scan", "audit_disagreement")}
    assert plan["Actual Rows"] == 40


def test_statistics_read_the_newest_audits_backwards_by_id(large_batch):
    plan = explain("count_distances", {"edges": [1.0, 4.0], "audits_max": 100, "model": ""})
    touched = sum(
        node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan) if node.get("Relation Name") == "audit"
    )
    assert touched == 100
    assert {node.get("Index Name") for node in nodes(plan) if node.get("Relation Name") == "audit"} == {"audit_pkey"}
