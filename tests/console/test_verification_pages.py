"""Pages about verification: disagreements with what differs, distances, rates, a car's trust, orders with reasons."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.console.scenes import make_dispute, put_commits

DISAGREEMENTS = "/console/workunits/audit/disagreements/"


@pytest.fixture
def operator(db) -> Client:
    from workunits.pipeline.accounts import ensure_user

    client = Client()
    client.force_login(ensure_user(username="op", email="op@example.org", is_operator=True))
    return client


@pytest.fixture
def onlooker(db) -> Client:
    """Staff who may look at everything and act upon nothing."""
    from django.contrib.auth.models import Permission

    from workunits.pipeline.accounts import ensure_user

    user = ensure_user(username="looks", email="l@example.org")
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def dispute(db):
    return make_dispute()


def trust_page(vehicle) -> str:
    return f"/console/workunits/vehicle/{vehicle.pk}/trust/"


def test_a_disagreement_is_listed_and_filters_find_it(operator, dispute) -> None:
    page = operator.get(DISAGREEMENTS)
    assert [audit.pk for audit, *_ in page.context["audits"]][-1] == dispute.audit.pk
    finds = {
        "state": ("failed", "inconclusive"),
        "stage": ("anchor", "digest"),
        "level": ("2", "3"),
        "batch": (dispute.batch.public_id, "bat_none"),
        "model": (dispute.batch.model.public_id, "mod_none"),
        "vehicle": (dispute.liar.public_id, "veh_none"),
        "comparison_class": ("avx512", "sse2"),
    }
    for name, (right, wrong) in finds.items():
        shown = [audit.pk for audit, *_ in operator.get(DISAGREEMENTS, {name: right}).context["audits"]]
        assert dispute.audit.pk in shown, name
        shown = [audit.pk for audit, *_ in operator.get(DISAGREEMENTS, {name: wrong}).context["audits"]]
        assert dispute.audit.pk not in shown, name
    assert operator.get(DISAGREEMENTS, {"before": dispute.audit.pk}).context["audits"] == []
    assert "Select a valid choice" in operator.get(DISAGREEMENTS, {"state": "x"}).content.decode()


def test_what_agrees_is_listed_only_where_it_is_asked_for(operator, dispute, django_assert_max_num_queries) -> None:
    from workunits.models import Audit

    for number in range(60):
        Audit.objects.create(
            batch=dispute.batch, unit_number=1, vehicle=dispute.honest, owner_id=1, sequence=number, level=2,
            weight_microcredits=1, reason="young", needs="anchor", state="passed", created_at=timezone.now(),
            opens_at=timezone.now(), resolved_at=timezone.now(), stage="anchor", distance=0.1,
            auditor_vehicle_id=dispute.liar.pk, auditor_owner_id=2,
        )  # fmt: skip
    assert [audit.state for audit, *_ in operator.get(DISAGREEMENTS).context["audits"]] == ["failed"]
    with django_assert_max_num_queries(6):
        page = operator.get(DISAGREEMENTS, {"state": "compared"})
    assert {audit.state for audit, *_ in page.context["audits"]} == {"passed"}
    assert len(page.context["audits"]) == 50
    assert {auditor for _, auditor, _ in page.context["audits"]} == {dispute.liar}
    older = operator.get(DISAGREEMENTS + page.context["older"]).context
    assert [audit.state for audit, *_ in older["audits"]].count("passed") == 60 - 50
    assert older["audits"][-1][0] == dispute.audit
    assert "None that fits" in operator.get(DISAGREEMENTS, {"vehicle": "veh_none"}).content.decode()


def test_a_disagreement_names_both_cars_and_what_followed(operator, dispute) -> None:
    from tests.engine.factories import NOW
    from workunits.pipeline.revoke import apply_revocations, settle_failures

    path = f"{DISAGREEMENTS}{dispute.audit.pk}/"

    def text() -> str:
        return " ".join(operator.get(path).content.decode().split())

    assert "What follows from it is being done." in text()
    settle_failures(now=NOW)
    assert "1 result was taken back. 1 of them are still to be taken from their batches." in text()
    apply_revocations(now=NOW)
    page = text()
    assert f"The trust of {dispute.liar.name} was set to nothing on 2026-03-01" in page
    assert "still to be taken" not in page
    for car in (dispute.liar, dispute.honest):
        assert f'<a href="{trust_page(car)}">{car.name}</a>' in page
    assert f'href="/console/workunits/unit/{dispute.batch.pk}_3A0/change/"' in page


def test_what_differs_is_shown_side_by_side(operator, dispute) -> None:
    page = operator.get(f"{DISAGREEMENTS}{dispute.audit.pk}/")
    found = page.context["found"]
    assert page.context["names"] == ["result", "re-run", "anchor"]
    scores, label = found.differences
    assert (scores.rows_compared, scores.rows_differing) == (2, 1)
    assert [(pair.first, pair.second, pair.verdict) for pair in scores.distances] == [
        ("result", "re-run", "differs"), ("result", "anchor", "differs"), ("re-run", "anchor", "agrees"),
    ]  # fmt: skip
    (row,) = scores.rows
    assert (row.number, [top[0] for top in row.top]) == (1, [(3, 12.0), (6, 6.0), (6, 6.0)])
    (point,) = scores.points
    assert (point.row, point.place, point.values, point.difference) == (1, (3,), [12.0, 3.0, 3.0], 9.0)
    assert [pair.distance for pair in label.distances] == [float("inf"), float("inf"), 0.0]
    text = page.content.decode()
    assert "∞" in text
    assert "label 3" in " ".join(text.replace("<strong>", "").split())


def test_sides_of_two_classes_are_measured_as_the_verdict_measured_them(operator, dispute) -> None:
    from workunits.models import ModelTolerance

    # Within the liar's class outputs hardly differ; across classes they may.
    for comparison_class, tolerance in (("avx512", 1e-6), ("", 1e-2), ("neon", 1e-5)):
        ModelTolerance.objects.create(
            model=dispute.batch.model, comparison_class=comparison_class, output="scores", tolerance=tolerance,
            observed_max=tolerance, samples=1, source="audits", calibrated_at=timezone.now(),
        )  # fmt: skip
    scores = operator.get(f"{DISAGREEMENTS}{dispute.audit.pk}/").context["found"].differences[0]
    assert scores.spec.tolerance == 1e-2


def test_a_large_output_is_read_in_part(operator, db, monkeypatch) -> None:
    from workunits.selectors import disagreements

    monkeypatch.setattr(disagreements, "OUTPUT_BYTES_READ", 200)
    dispute = make_dispute(rows=64)
    found = disagreements.get_disagreement(dispute.audit.pk)
    assert found is not None
    assert [side.has_all for side in found.sides] == [False, False, False]
    assert found.differences[0].rows_compared == 200 // (7 * 4 + 8)
    assert "only the first rows" in operator.get(f"{DISAGREEMENTS}{dispute.audit.pk}/").content.decode()


def test_an_output_that_was_never_asked_for_says_so(operator, dispute) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE replica SET output = NULL WHERE owner_id = %s", [dispute.honest.owner_id])
    page = operator.get(f"{DISAGREEMENTS}{dispute.audit.pk}/")
    assert page.context["names"] == ["result", "anchor"]
    assert "never asked for" in page.content.decode()
    assert operator.get(f"{DISAGREEMENTS}999999/").status_code == 404


def test_distances_are_counted_by_model_and_pair_of_classes(operator, dispute) -> None:
    from workunits.models import Audit

    for distance in (0.0, 0.3, 0.3, 1.5):
        Audit.objects.create(
            batch=dispute.batch, unit_number=1, vehicle=dispute.honest, owner_id=1, sequence=1, level=2,
            weight_microcredits=1, reason="drawn", needs="car", state="passed", created_at=timezone.now(),
            opens_at=timezone.now(), resolved_at=timezone.now(), primary_class="neon", auditor_class="x86",
            stage="sketch", distance=distance,
        )  # fmt: skip
    page = operator.get("/console/workunits/audit/distances/")
    found = {(row.first_class, row.second_class): row for row, _ in page.context["rows"]}
    assert found["neon", "x86"].counts == [1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0]
    assert found["neon", "x86"].largest == 1.5
    # The liar's result is infinitely far from the anchor's: the labels are not equal.
    assert found["avx512", "anchor"].counts == [0] * 10 + [1]
    # What is wrong comes first.
    assert [(row.first_class, row.beyond) for row, _ in page.context["rows"]] == [("avx512", 1), ("neon", 1)]
    model = dispute.batch.model.public_id
    assert len(operator.get("/console/workunits/audit/distances/", {"model": model}).context["rows"]) == 2
    page = operator.get("/console/workunits/audit/distances/", {"model": "mod_none"})
    assert page.context["rows"] == []
    assert "No audit of that model" in page.content.decode()


def test_rates_say_how_often_results_were_drawn_and_what_came_of_it(operator, db, monkeypatch) -> None:
    from tests.engine.audit_rows import AUDIT, make_audited_batch, put_replica
    from tests.engine.factories import NOW, make_vehicle
    from tests.engine.trust_rows import commit_result, kept_commits
    from workunits.models import Audit
    from workunits.pipeline import drain
    from workunits.pipeline.trust import fold_trust
    from workunits.pipeline.validate import validate_ready
    from workunits.selectors.audit_statistics import list_rates

    monkeypatch.setattr(drain, "_random", lambda: 0.5)
    batch, car = make_audited_batch(units=8), make_vehicle()
    for unit in range(8):
        commit_result(batch, car, unit=unit, drawn=unit in (3, 7))
    validate_ready(now=NOW)
    for unit in (3, 7):
        put_replica(batch, unit=unit, role=AUDIT)
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    # What is final is no commitment any more, and still it was audited or not.
    assert kept_commits(car) == []
    (rates,) = list_rates(now=NOW + timedelta(days=1))
    assert (rates.level, rates.results, rates.drawn_share) == ("standard", 8, 0.25)
    assert rates.outcomes == {"passed": 2}
    assert Audit.objects.filter(reason="auditing", state="passed").count() == 2
    assert list_rates(now=NOW + timedelta(days=20)) == []
    assert operator.get("/console/workunits/audit/rates/").status_code == 200


def test_a_vehicles_trust_is_shown_over_time_with_what_changed_it(operator, dispute) -> None:
    from workunits.models import TrustEvent, VehicleTrust

    put_commits(dispute.liar, dispute.batch, 30)
    now = timezone.now()
    scopes = ((0, "", 100), (0, "x86", 100), (dispute.batch.model_id, "x86", 100))
    for model_id, comparison_class, weight in scopes:
        VehicleTrust.objects.create(
            vehicle=dispute.liar, level=2, model_id=model_id, comparison_class=comparison_class,
            weight_microcredits=weight * 50, weighed_at=now, last_commit_at=now,
        )  # fmt: skip
    TrustEvent.objects.create(
        vehicle=dispute.liar, kind="reset", level=2, sequence=1, weight_before=5000, weight_after=0, detail="a lie"
    )
    page = operator.get(trust_page(dispute.liar))
    text = page.content.decode()
    assert '<polyline class="line-0"' in text
    assert "a lie" in text
    weights = page.context["found"].weights
    assert [each.microcredits for each in weights] == [4999, 4999, 4999] or [each.microcredits for each in weights] == [
        5000,
        5000,
        5000,
    ]
    assert [each.probability is None for each in weights] == [True, True, False]
    assert 0.09 < weights[2].probability < 0.4
    assert [audit.pk for audit in page.context["found"].failed_audits] == [dispute.audit.pk]
    assert operator.get("/console/workunits/vehicle/999999/trust/").status_code == 404


def test_trust_is_shown_over_time_also_where_all_is_final(operator, db, monkeypatch) -> None:
    from tests.engine.audit_rows import AUDIT, make_audited_batch, put_replica
    from tests.engine.factories import NOW, make_vehicle
    from tests.engine.trust_rows import commit_result, kept_commits
    from workunits.pipeline import drain
    from workunits.pipeline.trust import fold_trust
    from workunits.pipeline.validate import validate_ready

    monkeypatch.setattr(drain, "_random", lambda: 0.5)
    batch, car = make_audited_batch(units=4), make_vehicle()
    for unit in range(4):
        commit_result(batch, car, unit=unit, drawn=unit == 3, at=NOW + timedelta(minutes=unit))
        validate_ready(now=NOW + timedelta(minutes=unit))
    auditor = put_replica(batch, unit=3, role=AUDIT)
    validate_ready(now=NOW + timedelta(minutes=5))
    fold_trust(now=NOW + timedelta(minutes=5))
    assert kept_commits(car) == []
    page = operator.get(trust_page(car))
    text = page.content.decode()
    assert "Accepted weight over time, in credits" in text
    assert '<polyline class="line-0"' in text
    line = page.context["found"].history["standard"]
    assert [point.at for point in line[:-1]] == [NOW + timedelta(minutes=minute) for minute in (0, 1, 2, 3, 3)]
    assert [point.weight for point in line[:-1]] == pytest.approx([50, 100, 150, 200, 200], abs=1)  # decayed a little
    assert line[-1].weight == 0  # idle for too long
    # Who only audited for others is believed nothing for that.
    assert "Nothing of it was accepted yet" in operator.get(trust_page(auditor)).content.decode()


def test_what_is_certain_to_be_audited_is_shown_so(dispute) -> None:
    from workunits.models import VehicleStanding, VehicleTrust
    from workunits.selectors.vehicle_trust import get_vehicle_trust

    car, now = dispute.honest, timezone.now()
    put_commits(car, dispute.batch, 3)
    # Believed for long, but hardly in the class that it computes in now.
    scopes = ((0, "", 5000), (0, "old", 4999), (0, "x86", 1), (dispute.batch.model_id, "x86", 5000))
    for model_id, comparison_class, results in scopes:
        VehicleTrust.objects.create(
            vehicle=car, level=2, model_id=model_id, comparison_class=comparison_class, weighed_at=now,
            weight_microcredits=results * 50, last_commit_at=now,
        )  # fmt: skip

    def probability() -> float | None:
        found = get_vehicle_trust(car.pk, now=now)
        assert found is not None
        return found.weights[-1].probability

    assert probability() == 1.0
    VehicleTrust.objects.filter(vehicle=car, comparison_class="x86").update(weight_microcredits=5000 * 50)
    assert probability() == pytest.approx(50 / (0.95 * 5000 + 0.95 * 51), rel=0.01)
    VehicleStanding.objects.update_or_create(vehicle=car, defaults={"state": "quarantined", "quarantined_at": now})
    assert probability() == 1.0


def test_what_a_lost_audit_took_back_is_shown_to_the_operator(operator, dispute) -> None:
    from tests.engine.factories import NOW
    from workunits.pipeline.revoke import apply_revocations, settle_failures

    assert settle_failures(now=NOW) == 1
    apply_revocations(now=NOW)
    page = operator.get(trust_page(dispute.liar))
    kinds = [event.kind for event, _ in page.context["events"]]
    assert {"audit_failed", "reset"} <= set(kinds)
    found = page.context["found"]
    assert found.vehicle.presence.trust_life == 2
    assert len(found.standing.resets) == 1
    found = operator.get(f"{DISAGREEMENTS}{dispute.audit.pk}/").context["found"]
    assert found.audit.settled_at == NOW
    # What was taken back can still be looked at.
    assert found.sides[0].name == "result"
    assert found.differences[0].rows_differing == 1


def test_a_quarantine_needs_a_reason_and_leaves_an_event(operator, dispute) -> None:
    from django.contrib.admin.models import LogEntry

    from workunits.models import TrustEvent, VehicleStanding

    path = trust_page(dispute.honest)
    page = operator.post(path, {"order": "quarantine", "reason": "  "}, follow=True)
    assert "Say why." in page.content.decode()
    assert (VehicleStanding.objects.filter(state="quarantined").count(), LogEntry.objects.count()) == (0, 0)
    operator.post(path, {"order": "quarantine", "reason": "Its outputs look copied."})
    standing = VehicleStanding.objects.get(vehicle=dispute.honest)
    assert (standing.state, standing.reason) == ("quarantined", "Its outputs look copied.")
    event = TrustEvent.objects.get(vehicle=dispute.honest, kind="quarantined")
    assert event.detail == "op: Its outputs look copied."
    assert LogEntry.objects.get().get_change_message() == "quarantine: Its outputs look copied."
    page = operator.post(path, {"order": "quarantine", "reason": "again"}, follow=True)
    assert "quarantined already" in page.content.decode()

    operator.post(path, {"order": "release", "reason": ""})
    assert VehicleStanding.objects.get(vehicle=dispute.honest).state == "quarantined"
    operator.post(path, {"order": "release", "reason": "A mistake of ours."})
    assert VehicleStanding.objects.get(vehicle=dispute.honest).state == "normal"
    assert TrustEvent.objects.filter(vehicle=dispute.honest, kind="released").count() == 1
    page = operator.post(path, {"order": "release", "reason": "again"}, follow=True)
    assert "neither watched nor quarantined" in page.content.decode()
    assert operator.post(path, {"order": "reward", "reason": "x"}).status_code == 404


def test_an_appeal_is_answered_once(operator, dispute) -> None:
    from workunits.models import VehicleStanding
    from workunits.pipeline.oversight import appeal

    path, car = trust_page(dispute.honest), dispute.honest
    VehicleStanding.objects.update_or_create(vehicle=car, defaults={"state": "watched"})
    appeal(vehicle_id=car.pk, owner_id=car.owner_id, text="I changed the memory.", now=timezone.now())
    assert "I changed the memory." in operator.get(path).content.decode()
    operator.post(path, {"order": "answer", "reason": "Thank you; it goes on being checked."})
    standing = VehicleStanding.objects.get(vehicle=car)
    assert (standing.appeal_answer, standing.state) == ("Thank you; it goes on being checked.", "watched")
    page = operator.post(path, {"order": "answer", "reason": "twice"}, follow=True)
    assert "No appeal of this car waits" in page.content.decode()
    assert VehicleStanding.objects.get(vehicle=car).appeal_answer == "Thank you; it goes on being checked."


def test_an_anchors_run_is_ordered_with_a_reason_once(operator, dispute) -> None:
    from workunits.models import AnchorRun, UnitEvent

    unit = f"/console/workunits/unit/{dispute.batch.pk}:0/"
    assert "rerun" in operator.get(f"{unit}change/").content.decode()
    operator.post(f"{unit}rerun/", {"reason": ""})
    assert AnchorRun.objects.filter(reason="operator").count() == 0
    assert operator.post(f"{unit}rerun/", {"reason": "The owner asks."}).status_code == 302
    assert AnchorRun.objects.get(reason="operator").state == "waiting"
    event = UnitEvent.objects.get(event="anchor_run_ordered")
    assert (event.unit_number, event.detail) == (0, "op: The owner asks.")
    page = operator.post(f"{DISAGREEMENTS}{dispute.audit.pk}/", {"reason": "Me too."}, follow=True)
    assert "already" in page.content.decode()
    # A unit without a result, and one of a batch without audits.
    page = operator.post(f"/console/workunits/unit/{dispute.batch.pk}:1/rerun/", {"reason": "x"}, follow=True)
    assert "Only units that have a result" in page.content.decode()
    assert AnchorRun.objects.filter(reason="operator").count() == 1
    assert operator.get("/console/workunits/unit/1:x/rerun/").status_code == 404


def test_who_may_only_look_sees_no_form_and_changes_nothing(onlooker, dispute) -> None:
    from workunits.models import AnchorRun, VehicleStanding

    page = onlooker.get(trust_page(dispute.honest))
    assert page.status_code == 200
    assert "<textarea" not in page.content.decode()
    answer = onlooker.post(trust_page(dispute.honest), {"order": "quarantine", "reason": "x"})
    assert answer.status_code == 403
    answer = onlooker.post(f"{DISAGREEMENTS}{dispute.audit.pk}/", {"reason": "x"})
    assert answer.status_code == 403
    assert VehicleStanding.objects.filter(state="quarantined").count() == 0
    assert AnchorRun.objects.filter(reason="operator").count() == 0


def test_an_order_from_another_site_is_refused_and_looking_changes_nothing(operator, dispute) -> None:
    from django.contrib.admin.models import LogEntry

    from workunits.models import AnchorRun, VehicleStanding

    careful = Client(enforce_csrf_checks=True)
    careful.cookies = operator.cookies
    order = {"order": "quarantine", "reason": "x"}
    pages = (
        trust_page(dispute.honest), f"{DISAGREEMENTS}{dispute.audit.pk}/",
        f"/console/workunits/unit/{dispute.batch.pk}:0/rerun/",
    )  # fmt: skip
    for path in pages:
        assert careful.get(path).status_code == 200
        assert careful.get(path, order).status_code == 200
        assert careful.post(path, order).status_code == 403
    assert VehicleStanding.objects.filter(state="quarantined").count() == 0
    assert AnchorRun.objects.filter(reason="operator").count() == 0
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize(
    "path", [DISAGREEMENTS, "/console/workunits/audit/rates/", "/console/workunits/ownercluster/overview/"]
)
def test_nobody_else_sees_the_pages(db, path) -> None:
    from workunits.pipeline.accounts import ensure_user

    client = Client()
    client.force_login(ensure_user(username="olga", email="o@example.org"))
    assert client.get(path).status_code == 302
    user = ensure_user(username="staff", email="s@example.org")
    user.is_staff = True
    user.save()
    client.force_login(user)
    assert client.get(path).status_code == 403


def test_the_console_begins_with_the_pages_and_clusters_show_their_reasons(operator, dispute) -> None:
    from workunits.models import ClusterEdge

    index = operator.get("/console/").content.decode()
    for path in (DISAGREEMENTS, "/console/workunits/audit/distances/", "/console/workunits/ownercluster/overview/"):
        assert f'href="{path}"' in index
    first, second = sorted([dispute.honest.owner_id, dispute.liar.owner_id])
    ClusterEdge.objects.create(
        first_id=first, second_id=second, kind="operator", detail="brothers", seen_at=timezone.now(),
        expires_at=timezone.now() + timedelta(days=30),
    )  # fmt: skip
    from workunits.pipeline.clusters import compute_clusters

    compute_clusters(now=timezone.now())
    page = operator.get("/console/workunits/ownercluster/overview/").content.decode()
    assert "brothers" in page
    assert dispute.liar.owner.public_id in page


def test_many_clusters_are_shown_in_part_with_a_fixed_number_of_reads(
    operator, db, django_assert_max_num_queries
) -> None:
    from tests.engine.factories import make_vehicle
    from workunits.models import ClusterEdge, OwnerCluster
    from workunits.selectors.clusters import CLUSTERS_SHOWN, OWNERS_SHOWN, list_clusters

    now, until = timezone.now(), timezone.now() + timedelta(days=30)
    template = make_vehicle().owner
    number = 2 * (CLUSTERS_SHOWN + 5) + OWNERS_SHOWN
    owners = [make_vehicle().owner for _ in range(number)]
    first = owners[0]
    for place in range(0, 2 * (CLUSTERS_SHOWN + 5), 2):
        first, second = owners[place], owners[place + 1]
        for owner in (first, second):
            OwnerCluster.objects.create(owner=owner, cluster_id=first.pk, computed_at=now)
        ClusterEdge.objects.create(
            first=first, second=second, kind="operator", detail="one", seen_at=now, expires_at=until
        )
    for owner in owners[-OWNERS_SHOWN:]:  # they join the last pair
        OwnerCluster.objects.create(owner=owner, cluster_id=first.pk, computed_at=now)
    ClusterEdge.objects.create(
        first=template, second=owners[0], kind="apart", detail="strangers", seen_at=now, expires_at=until
    )
    with django_assert_max_num_queries(4):
        shown, has_more = list_clusters(clusters_max=CLUSTERS_SHOWN)
    assert has_more
    assert (shown[0].size, len(shown[0].owners), len(shown[0].reasons)) == (OWNERS_SHOWN + 2, OWNERS_SHOWN, 1)
    assert [(each.size, len(each.reasons)) for each in shown[1:-1]] == [(2, 1)] * (CLUSTERS_SHOWN - 1)
    assert (shown[-1].owners, len(shown[-1].reasons)) == ([], 1)
    page = operator.get("/console/workunits/ownercluster/overview/").content.decode()
    assert "(22 owners)" in page
    assert "Only the 50 largest are shown" in page


def test_the_console_begins_with_what_waits_for_an_operator(operator, dispute, django_assert_num_queries) -> None:
    from workunits.models import AnchorRun, BatchNotice, VehicleStanding
    from workunits.selectors.attention import Attention, get_attention
    from workunits.store.anchors import note_machine

    now = timezone.now()
    for car, state in ((dispute.liar, "quarantined"), (dispute.honest, "watched")):
        VehicleStanding.objects.update_or_create(
            vehicle=car, defaults={"state": state, "quarantined_at": now, "appealed_at": now, "appeal": "please"}
        )
    VehicleStanding.objects.filter(vehicle=dispute.honest).update(appeal_answered_at=now)
    AnchorRun.objects.create(batch=dispute.batch, unit_number=1, reason="young", created_at=now - timedelta(hours=3))
    BatchNotice.objects.create(batch=dispute.batch, at=now, code="model_mismatch", text="Paused")
    note_machine("desk", now, problem="no Landlock")
    with django_assert_num_queries(5):
        assert get_attention(now=now) == Attention(
            appeals=1, watched=1, quarantined=1, anchors=0, anchors_unfit=1, runs_waiting=1,
            waiting_since=now - timedelta(hours=3), alarms=1, debt_microcredits=0,
        )  # fmt: skip
    text = operator.get("/console/").content.decode()
    assert "No anchor is at work" in text
    assert "that of audit factor 19." in text
    assert "1 machine says why it cannot" in text
    assert "judged wrong whoever computed them" in text
    standing = "/console/workunits/vehiclestanding/"
    for query, found in (
        ("appealed_at__isempty=0&amp;appeal_answered_at__isempty=1", {dispute.liar}),
        ("state__exact=watched", {dispute.honest}),
        ("state__in=watched,quarantined", {dispute.liar, dispute.honest}),
    ):
        assert f'href="{standing}?{query}"' in text
        page = operator.get(f"{standing}?{query}".replace("&amp;", "&"))
        assert {row.vehicle for row in page.context["cl"].result_list} == found
    note_machine("desk", now)
    assert "No anchor is at work" not in operator.get("/console/").content.decode()


def test_staff_without_the_right_to_see_audits_are_not_shown_numbers_of_them(db) -> None:
    from workunits.pipeline.accounts import ensure_user

    user = ensure_user(username="staff", email="s@example.org")
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    page = client.get("/console/")
    assert page.status_code == 200
    assert "Can results be trusted?" not in page.content.decode()
