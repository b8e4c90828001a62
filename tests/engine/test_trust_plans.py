"""The plans of the statements that fold trust and take results back, on tables large enough to need an index."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.engine.audit_rows import make_audited_batch
from tests.engine.factories import NOW, later, make_vehicle
from tests.engine.test_plans import explain, nodes, rows_touched
from workunits.models import Audit, BatchProgress, Revocation, VehicleStanding, VehicleTrust

pytestmark = pytest.mark.django_db
CARS, EACH = 16, 500
HOT = ("replica", "vehicle_commit", "audit", "unit", "earning_item", "revocation")


@pytest.fixture
def fleet():
    """Sixteen vehicles with 500 believed results each of one batch, the first 400 of them folded, 30 of them final."""
    batch, cars = make_audited_batch(units=CARS * EACH), [make_vehicle() for _ in range(CARS)]
    with connection.cursor() as cursor:
        for place, car in enumerate(cars):
            first = place * EACH
            cursor.execute(
                "INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at, state,"
                " committed_at, reported_at, ended_at, commitment, output_digest, output, sequence)"
                " SELECT %s, %s + n - 1, %s, %s, 2, %s, %s, 'VALID', %s, %s, %s, 'c', 'd', 'o', n"
                " FROM generate_series(1, %s) AS n",
                [batch.id, first, car.owner_id, car.id, NOW, later(9), NOW, NOW, NOW, EACH],
            )
            cursor.execute(
                "INSERT INTO vehicle_commit SELECT %s, n, %s, %s + n - 1, %s, 1, 2, 0, %s, 'x86', 50, 0.01, false, %s"
                " FROM generate_series(1, %s) AS n",
                [car.id, batch.id, first, car.owner_id, batch.model_id, NOW, EACH],
            )
            cursor.execute(
                "INSERT INTO earning_item (batch_id, unit_number, owner_id, vehicle_id, amount_microcredits,"
                " verdict_number, created_at, provisional) SELECT %s, %s + n - 1, %s, %s, 50, 1, %s, true"
                " FROM generate_series(1, %s) AS n",
                [batch.id, first, car.owner_id, car.id, NOW, EACH],
            )
            cursor.execute(
                "UPDATE unit SET state = 'VALIDATED', needed = 0, canonical_owner_id = %s, decided_at = %s"
                " WHERE batch_id = %s AND number >= %s AND number < %s",
                [car.owner_id, NOW, batch.id, first, first + EACH],
            )
    rows = 2 * CARS * EACH
    BatchProgress.objects.filter(batch=batch).update(
        units_open=0, units_validated=CARS * EACH, rows_validated=rows, verdict_number=1
    )
    VehicleStanding.objects.bulk_create(VehicleStanding(vehicle=car, folded_sequence=400) for car in cars)
    VehicleTrust.objects.bulk_create(
        VehicleTrust(
            vehicle=car, level=2, weight_microcredits=9, weighed_at=NOW, last_commit_at=NOW, final_sequence=30,
            provisional_since=NOW if place == 0 else later(9),
        )
        for place, car in enumerate(cars)
    )  # fmt: skip
    Audit.objects.bulk_create(
        Audit(
            batch=batch, unit_number=place * EACH + n - 1, vehicle=car, owner_id=car.owner_id, sequence=n, level=2,
            weight_microcredits=50, reason="drawn", needs="car", state="passed", created_at=NOW, opens_at=NOW,
            resolved_at=NOW,
        )
        for place, car in enumerate(cars)
        for n in range(1, EACH, 10)
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(HOT)}, vehicle_trust, vehicle_standing, batch")
    return batch, cars


def whole_scans(plan):
    """Return the hot tables that were read from one end to the other; empty lanes do not count."""
    return [
        node["Relation Name"]
        for node in nodes(plan)
        if "Seq Scan" in node["Node Type"]
        and str(node.get("Relation Name", "")).startswith(HOT)
        and node["Actual Rows"] + node.get("Rows Removed by Filter", 0) > 0
    ]


def test_a_fold_reads_what_is_not_folded_yet_and_no_more(fleet):
    _, cars = fleet
    plan = explain("read_unfolded", {"vehicles": [cars[3].id, cars[7].id], "folded": [400, 400], "commits_max": 1000})
    assert plan["Actual Rows"] == 200
    assert rows_touched(plan, ("vehicle_commit",)) <= 200
    assert rows_touched(plan, ("replica",)) <= 200
    assert whole_scans(plan) == []


def test_the_audits_of_a_few_vehicles_are_found_by_vehicle(fleet):
    _, cars = fleet
    plan = explain("read_audit_marks", {"vehicles": [cars[3].id, cars[7].id]})
    assert plan["Actual Rows"] == 100
    assert rows_touched(plan, ("audit",)) <= 150
    assert whole_scans(plan) == []


def test_making_results_final_touches_those_results(fleet):
    batch, cars = fleet
    plan = explain(
        "finalise_commits",
        {"batch_id": batch.id, "verdict_number": 2, "vehicles": [cars[3].id, cars[7].id], "now": NOW},
    )
    assert rows_touched(plan, ("replica",)) <= 60
    assert rows_touched(plan, ("vehicle_commit",)) <= 120
    assert rows_touched(plan, ("earning_item",)) <= 60
    assert whole_scans(plan) == []


def test_results_on_hold_are_found_by_their_time(fleet):
    plan = explain("list_held_results", {"held_before": NOW, "has_anchor": True, "turn": 1, "results_max": 500})
    assert plan["Actual Rows"] == 1
    assert rows_touched(plan, ("vehicle_commit",)) <= 200
    assert whole_scans(plan) == []


def test_taking_back_touches_what_is_taken_back(fleet):
    batch, cars = fleet
    audit = Audit.objects.filter(vehicle=cars[3]).first()
    Revocation.objects.bulk_create(
        Revocation(
            batch=batch, unit_number=3 * EACH + n - 1, owner_id=cars[3].owner_id, vehicle=cars[3], sequence=n,
            audit=audit, created_at=NOW,
        )
        for n in range(100, 200)
    )  # fmt: skip
    units = list(range(3 * EACH + 99, 3 * EACH + 199))
    plan = explain(
        "take_back_results",
        {"batch_id": batch.id, "verdict_number": 2, "units": units, "state": "OPEN", "now": NOW},
    )
    assert rows_touched(plan, ("replica",)) <= 200
    assert rows_touched(plan, ("earning_item",)) <= 200
    assert rows_touched(plan, ("unit",)) <= 600
    assert [table for table in whole_scans(plan) if not table.startswith("revocation")] == []


def test_a_fold_forgets_what_was_taken_back_and_reads_only_that(fleet):
    batch, cars = fleet
    audit = Audit.objects.filter(vehicle=cars[3]).first()
    Revocation.objects.bulk_create(
        Revocation(
            batch=batch, unit_number=3 * EACH + n - 1, owner_id=cars[3].owner_id, vehicle=cars[3], sequence=n,
            audit=audit, created_at=NOW, done_at=NOW,
        )
        for n in range(100, 200)
    )  # fmt: skip
    plan = explain(
        "write_fold",
        {
            "weights": "[]", "folded_vehicles": [cars[3].id, cars[7].id], "folded_upto": [150, 500],
            "ended_vehicles": [], "ended_sequences": [], "resets_since": NOW, "resets_until_watched": 3,
            "due_vehicles": [],
        },
    )  # fmt: skip
    assert rows_touched(plan, ("vehicle_commit",)) <= 160
    assert whole_scans(plan) == []
