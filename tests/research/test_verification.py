"""How a batch says how sure it wants to be, and what it is told of it."""

from __future__ import annotations

import pytest

from tests.engine.audit_rows import AUDIT as AUDIT_ROLE
from tests.engine.audit_rows import PRIMARY, finish_run, make_audited_batch, put_replica
from tests.engine.conftest import board_without_memory  # noqa: F401  (each test sees its own batches only)
from tests.engine.factories import NOW
from tests.research.test_documents import check


@pytest.mark.parametrize(
    ("asked", "level", "quorum", "factor", "share"),
    [
        ({}, "quorum", 2, None, None),
        ({"quorum": 3}, "quorum", 3, None, None),
        ({"verification": {"quorum": 1}}, "quorum", 1, None, None),
        ({"verification": {"level": "economy"}}, "economy", 1, 10.0, 0.005),
        ({"verification": {"level": "standard"}}, "standard", 1, 50.0, 0.001),
        ({"verification": {"level": "strict"}, "assumed_adversarial_share": 0.1}, "strict", 1, 500.0, 0.0002),
        ({"verification": {"level": "critical"}}, "critical", 3, None, None),
    ],
)
def test_a_level_or_a_quorum_is_chosen(caller, ordered, asked, level, quorum, factor, share) -> None:
    from workunits.models import Batch

    body = caller.post("/batches", {**ordered, **asked}).json()
    check(body, "Batch")
    said = body["verification"]
    assert (said["level"], body["quorum"], said["audit_factor"]) == (level, quorum, factor)
    assert said["expected_wrong_share"] == (None if share is None else pytest.approx(share))
    assert (said["replication"], said["rows"]) == (None, {"provisional": 0, "final": 0, "revoked": 0})
    assert ("guarantee" in said["meaning"]) == (share is not None)
    assert (body["finality"], body["result_revision"], body["notices"]) == ("final", 0, [])
    batch = Batch.objects.get()
    assert (batch.level, batch.quorum, batch.finality) == (level, quorum, "final")


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"quorum": 2, "verification": {"level": "strict"}}, "/quorum"),
        ({"verification": {"level": "strict", "quorum": 2}}, "/verification"),
        ({"verification": {}}, "/verification"),
        ({"verification": {"level": "quorum"}}, "/verification/level"),
        ({"verification": {"level": "paranoid"}}, "/verification/level"),
        ({"verification": {"quorum": 6}}, "/verification/quorum"),
        ({"verification": {"levle": "strict"}}, "/verification/levle"),
        ({"verification": "strict"}, "/verification"),
        ({"finality": "later"}, "/finality"),
        ({"assumed_adversarial_share": 0}, "/assumed_adversarial_share"),
        ({"assumed_adversarial_share": 1.5}, "/assumed_adversarial_share"),
    ],
)
def test_a_choice_that_says_nothing_or_two_things_is_pointed_at(caller, ordered, asked, pointer) -> None:
    from workunits.models import Batch

    answer = caller.post("/batches", {**ordered, **asked})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert Batch.objects.count() == 0


def test_provisional_finality_is_kept(caller, ordered) -> None:
    order = {**ordered, "verification": {"level": "standard"}, "finality": "provisional"}
    assert caller.post("/batches", order).json()["finality"] == "provisional"


def test_units_and_their_rows_say_whether_they_are_final_and_hide_re_runs_until_then(caller) -> None:
    from workunits.pipeline.validate import validate_ready

    batch = make_audited_batch(units=2)
    type(batch).objects.update(project=caller.project)
    put_replica(batch, unit=0, drawn=True)
    validate_ready(now=NOW)
    put_replica(batch, None, unit=0, role=AUDIT_ROLE, state="LEASED")
    body = caller.get(f"/batches/{batch.public_id}").json()
    assert body["verification"]["rows"] == {"provisional": 2, "final": 0, "revoked": 0}
    assert body["verification"]["audits"] == {"run": 0, "open": 1, "passed": 0, "failed": 0, "inconclusive": 0}
    unit = caller.get(f"/batches/{batch.public_id}/units/0").json()
    check(unit, "UnitDetail")
    assert (unit["finality"], unit["final_at"], unit["replicas"]) == ("provisional", None, {"VALID": 1})
    assert [replica["state"] for replica in unit["history"]] == ["VALID"]
    assert caller.get(f"/batches/{batch.public_id}/units/1").json()["finality"] is None
    results = caller.get(f"/batches/{batch.public_id}/results")
    assert results["Fleet-Rows"] == "final=0; provisional=2; revision=0"

    finish_run(batch, unit=0, reason="floor")
    from workunits.pipeline.resolve import resolve_anchor_runs

    resolve_anchor_runs(now=NOW)
    unit = caller.get(f"/batches/{batch.public_id}/units/0").json()
    assert unit["finality"] == "final"
    assert sum(unit["replicas"].values()) == 3
    body = caller.get(f"/batches/{batch.public_id}").json()
    assert body["verification"]["rows"] == {"provisional": 0, "final": 2, "revoked": 0}
    assert body["verification"]["anchor_runs"] == 1
    assert body["verification"]["audits"]["passed"] == 1
    assert body["verification"]["replication"] == 2.0
    assert body["counts"]["succeeded"] == 2
    progress = caller.get(f"/batches/{batch.public_id}/progress").json()
    check(progress, "Progress")
    assert progress["rows"] == {"provisional": 0, "final": 2, "revoked": 0}


def test_notices_are_told_newest_first(caller) -> None:
    from workunits.models import BatchNotice

    batch = make_audited_batch(units=1)
    type(batch).objects.update(project=caller.project, result_revision=1)
    for code in ("first", "second"):
        BatchNotice.objects.create(batch=batch, at=NOW, code=code, text=f"the {code} one")
    body = caller.get(f"/batches/{batch.public_id}").json()
    assert [notice["code"] for notice in body["notices"]] == ["second", "first"]
    assert body["result_revision"] == 1


def test_a_list_of_batches_costs_no_statement_for_each(caller, django_assert_max_num_queries) -> None:
    for _ in range(4):
        put_replica(make_audited_batch(units=1), role=PRIMARY)
    from workunits.models import Batch

    Batch.objects.update(project=caller.project)
    with django_assert_max_num_queries(9):
        assert len(caller.get("/batches").json()["data"]) == 4
