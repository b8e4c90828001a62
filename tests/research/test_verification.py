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
    from django.utils import timezone

    from workunits.models import Batch
    from workunits.store.anchors import note_machine

    note_machine("desk", timezone.now(), comparison_class="cpu")
    body = caller.post("/batches", {**ordered, **asked}).json()
    check(body, "Batch")
    said = body["verification"]
    assert (said["level"], body["quorum"], said["audit_factor"]) == (level, quorum, factor)
    assert said["expected_wrong_share"] == (None if share is None else pytest.approx(share))
    assert said["premium"] == {"economy": 0.07, "standard": 0.2, "strict": 0.65}.get(level, 0)
    assert (said["replication"], said["rows"]) == (None, {"provisional": 0, "final": 0, "revoked": 0})
    assert ("guarantee" in said["meaning"]) == (share is not None)
    assert (body["finality"], body["result_revision"], body["notices"]) == ("final", 0, [])
    batch = Batch.objects.get()
    assert (batch.level, batch.quorum, batch.finality) == (level, quorum, "final")


@pytest.mark.parametrize(
    ("asked", "pointer", "cure"),
    [
        ({"quorum": 2, "verification": {"level": "strict"}}, "/quorum", "not both"),
        ({"quorum": 0}, "/quorum", "greater than or equal to 1"),
        ({"verification": {"level": "strict", "quorum": 2}}, "/verification", "one of the two"),
        ({"verification": {}}, "/verification", "one of the two"),
        ({"verification": None}, "/verification", '{"level": "standard"}'),
        ({"verification": {"level": "quorum"}}, "/verification/level", '{"quorum": 2}'),
        ({"verification": {"level": "paranoid"}}, "/verification/level", "economy, standard, strict, critical"),
        ({"verification": {"level": None}}, "/verification/level", "economy, standard, strict, critical"),
        ({"verification": {"quorum": 6}}, "/verification/quorum", "less than or equal to 5"),
        ({"verification": {"levle": "strict"}}, "/verification/levle", "there are level, quorum"),
        ({"verification": "strict"}, "/verification", '{"level": "standard"}'),
        ({"level": "strict"}, "/level", '"verification": {"level": "standard"}'),
        ({"finality": "later"}, "/finality", "must be one of final, provisional"),
        ({"finalty": "final"}, "/finalty", "finality"),
        ({"assumed_adversarial_share": 0}, "/assumed_adversarial_share", "0.0001"),
        ({"assumed_adversarial_share": 1.5}, "/assumed_adversarial_share", "1.0"),
        ({"assumed_adversarial_share": "nan"}, "/assumed_adversarial_share", "number"),
    ],
)
def test_a_choice_that_says_nothing_or_two_things_is_pointed_at_with_its_cure(
    caller, ordered, asked, pointer, cure
) -> None:
    from workunits.models import Batch

    answer = caller.post("/batches", {**ordered, **asked})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert cure in error["detail"]
    assert Batch.objects.count() == 0


def test_a_batch_is_not_changed_afterwards_and_the_refusal_says_what_can_be_done(caller, ordered) -> None:
    from workunits.models import Batch

    batch_id = caller.post("/batches", {**ordered, "verification": {"level": "economy"}}).json()["id"]
    for method in ("patch", "put", "delete"):
        answer = getattr(caller.client, method)(
            f"/api/v1/batches/{batch_id}",
            '{"verification": {"level": "strict"}}',
            "application/json",
            headers={"Authorization": f"Bearer {caller.key}"},
        )
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert "Order another" in answer.json()["detail"]
    assert Batch.objects.get().level == "economy"


def test_the_bound_that_holds_without_an_anchor_is_shown_with_its_reason(caller, ordered) -> None:
    from django.utils import timezone

    from workunits.store.anchors import note_machine

    order = {**ordered, "verification": {"level": "strict"}}
    body = caller.post("/batches", order).json()
    said = body["verification"]
    assert (said["audit_factor"], said["audit_factor_held"]) == (500.0, 19.0)
    assert said["expected_wrong_share"] == pytest.approx(0.05 / 19)
    assert said["weaker_because"] == "no_anchor"
    assert "No anchor" in said["meaning"]
    note_machine("desk", timezone.now(), comparison_class="cpu")
    said = caller.get(f"/batches/{body['id']}").json()["verification"]
    assert (said["audit_factor_held"], said["weaker_because"]) == (500.0, None)
    assert said["expected_wrong_share"] == pytest.approx(0.0001)


@pytest.mark.parametrize(
    ("asked", "needed", "missing"),
    [
        ({"quorum": 1}, 1, 0),
        ({"quorum": 5}, 5, 4),
        ({"verification": {"level": "critical"}}, 3, 2),
        ({"verification": {"level": "economy"}}, 2, 1),
    ],
)
def test_a_batch_says_when_the_fleet_cannot_serve_it(caller, ordered, asked, needed, missing) -> None:
    from django.utils import timezone

    from tests.engine.factories import Car, make_vehicle
    from workunits.selectors.verification import forget_parties

    forget_parties()
    # Two cars of one owner, and one of another owner that is driving.
    first = make_vehicle()
    for vehicle in (first, make_vehicle(first.owner)):
        Car(vehicle).sync(at=timezone.now())
    Car().sync(at=timezone.now(), eligible=False)
    body = caller.post("/batches", {**ordered, **asked}).json()
    check(body, "Batch")
    said = body["verification"]
    assert (said["parties_needed"], said["parties_missing"]) == (needed, missing)
    # A researcher's own cars audit none of his batches and earn no trust by them, but may be one of a quorum.
    caller.project.members.add(first.owner.user)
    own = 1 if "level" in asked.get("verification", {}) and needed == 2 else 0
    said = caller.get(f"/batches/{body['id']}").json()["verification"]
    assert said["parties_missing"] == missing + own
    forget_parties()


def test_a_refused_order_uses_up_no_idempotency_key_and_another_choice_under_a_used_one_is_refused(
    caller, ordered
) -> None:
    from workunits.models import Batch

    key = "9b2f-one-order"
    right = {**ordered, "verification": {"level": "strict"}}
    for wrong in ({**right, "verification": {"level": "srict"}}, {**right, "model": "mod_none"}):
        assert caller.post("/batches", wrong, Idempotency_Key=key).status_code in (404, 422)
    body = caller.post("/batches", right, Idempotency_Key=key).json()
    again = caller.post("/batches", right, Idempotency_Key=key)
    assert (again.status_code, again.json()["id"], again["Idempotent-Replayed"]) == (202, body["id"], "true")
    other = caller.post("/batches", {**right, "finality": "provisional"}, Idempotency_Key=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert Batch.objects.get().finality == "final"


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
    with django_assert_max_num_queries(12):
        assert len(caller.get("/batches").json()["data"]) == 4
