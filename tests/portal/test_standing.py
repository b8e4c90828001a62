"""A car that is watched or held back: what its owner reads, and his appeal."""

from __future__ import annotations

import pytest
from django.utils import timezone

from tests.portal.conftest import token_of

FAULTS = "4 results in 30 days were wrong"


@pytest.fixture
def car(owner):
    from tests.engine.factories import make_vehicle

    return make_vehicle(owner)


def judge(car, state: str, **columns) -> None:
    from workunits.models import VehicleStanding

    times = {"quarantined_at": timezone.now()} if state == "quarantined" else {}
    VehicleStanding.objects.update_or_create(
        vehicle=car, defaults={"state": state, "reason": FAULTS, "resets": [timezone.now()], **times, **columns}
    )


def send_appeal(browser, car, text: str):
    form = {"csrfmiddlewaretoken": token_of(browser.get("/pair")), "appeal": text}
    return browser.post(f"/cars/{car.public_id}/appeal", form)


def test_a_car_in_good_standing_is_shown_without_a_word_of_it(browser, car) -> None:
    for state in (None, "normal"):
        if state:
            judge(car, state)
        page = browser.get("/").content.decode()
        assert "held back" not in page
        assert "checked closely" not in page
        assert "/appeal" not in page


@pytest.mark.parametrize(("state", "badge"), [("watched", "checked closely"), ("quarantined", "held back")])
def test_the_owner_reads_why_what_it_means_for_money_and_how_to_appeal(browser, car, state, badge) -> None:
    judge(car, state)
    page = browser.get("/").content.decode()
    assert f">{badge}</span>" in page
    assert f"Reason: {FAULTS}" in page
    assert "What is available stays yours" in page or "what is available stays yours" in page
    assert f'action="/cars/{car.public_id}/appeal"' in page


def test_an_appeal_is_kept_with_its_event_and_shown_until_it_is_answered(browser, car) -> None:
    from workunits.models import TrustEvent, VehicleStanding
    from workunits.pipeline.oversight import answer_appeal

    judge(car, "quarantined")
    answer = send_appeal(browser, car, "  A memory module <was> broken. ")
    assert (answer.status_code, answer["Location"]) == (302, "/")
    standing = VehicleStanding.objects.get()
    assert (standing.appeal, standing.appeal_answered_at) == ("A memory module <was> broken.", None)
    event = TrustEvent.objects.get()
    assert (event.vehicle, event.kind, event.detail) == (car, "appealed", "A memory module <was> broken.")
    page = browser.get("/").content.decode()
    assert "A memory module &lt;was&gt; broken." in page
    assert "An operator will answer here." in page
    assert "<textarea" not in page

    answer_appeal(vehicle_id=car.pk, answer="Run the self-test.", operator="op", now=timezone.now())
    page = browser.get("/").content.decode()
    assert "Run the self-test." in page
    assert "<textarea" in page
    assert [event.kind for event in TrustEvent.objects.order_by("id")] == ["appealed", "answered"]


def test_a_released_car_is_said_to_work_again_and_its_appeal_is_put_aside_once_answered(browser, car) -> None:
    from workunits.pipeline.oversight import answer_appeal
    from workunits.pipeline.trust import release_vehicle

    judge(car, "quarantined")
    send_appeal(browser, car, "A memory module was broken.")
    release_vehicle(vehicle_id=car.pk, reason="op: replaced", now=timezone.now())
    page = browser.get("/").content.decode()
    assert "This car works as any other again." in page
    assert "An operator will answer here." in page
    assert "held back" not in page
    assert "replaced" not in page  # what operators tell each other
    answer_appeal(vehicle_id=car.pk, answer="Thank you.", operator="op", now=timezone.now())
    page = browser.get("/").content.decode()
    assert "<details><summary>Your appeal was answered" in page
    assert "Thank you." in page
    assert "<textarea" not in page


def test_a_second_appeal_waits_for_the_first_ones_answer(browser, car) -> None:
    from workunits.models import TrustEvent, VehicleStanding

    judge(car, "watched")
    send_appeal(browser, car, "first")
    send_appeal(browser, car, "second")
    assert VehicleStanding.objects.get().appeal == "first"
    assert TrustEvent.objects.count() == 1
    assert "waits for an answer" in browser.get("/").content.decode()


@pytest.mark.parametrize("text", ["", "   ", "x" * 2001, "a\x00b"])
def test_an_appeal_that_says_nothing_or_too_much_changes_nothing(browser, car, text) -> None:
    from workunits.models import TrustEvent, VehicleStanding

    judge(car, "quarantined")
    answer = send_appeal(browser, car, text)
    assert answer.status_code == 400
    assert 'id="appeal-error"' in answer.content.decode()
    assert VehicleStanding.objects.get().appealed_at is None
    assert TrustEvent.objects.count() == 0


def test_a_car_that_is_not_held_back_has_nothing_to_appeal(browser, car) -> None:
    from workunits.models import TrustEvent

    judge(car, "normal")
    assert send_appeal(browser, car, "please").status_code == 302
    assert TrustEvent.objects.count() == 0


def test_nobody_appeals_for_somebody_elses_car(browser, db) -> None:
    from tests.engine.factories import make_vehicle
    from workunits.models import TrustEvent

    other = make_vehicle()
    judge(other, "quarantined")
    assert send_appeal(browser, other, "please").status_code == 404
    assert TrustEvent.objects.count() == 0


def test_an_audit_under_way_changes_nothing_on_the_owners_page(browser, car) -> None:
    from tests.engine.audit_rows import make_audited_batch, put_replica
    from tests.engine.factories import NOW
    from workunits.pipeline.validate import validate_ready

    def page() -> str:
        text: str = browser.get("/").content.decode()
        token = token_of(browser.get("/pair"))
        return text.replace(token, "")[text.index("<main") :]

    pages = []
    for drawn in (False, True):
        put_replica(make_audited_batch(units=1), vehicle=car, drawn=drawn, sequence=1 + drawn)
        validate_ready(now=NOW)
        pages.append(page())
    assert "0.00005" in pages[0]
    assert pages[0].replace("0.00005", "0.0001") == pages[1]


def test_results_audits_and_known_answers_look_alike_on_the_owners_page(browser, car) -> None:
    from tests.engine.audit_rows import AUDIT, KNOWN, PRIMARY, make_audited_batch, put_replica
    from tests.engine.factories import NOW
    from workunits.pipeline.credit import settle_credit
    from workunits.pipeline.validate import validate_ready

    seen = []
    for sequence, role in enumerate((PRIMARY, AUDIT, KNOWN), start=1):
        batch = make_audited_batch(units=1)
        if role != PRIMARY:
            put_replica(batch)
            validate_ready(now=NOW)
        put_replica(batch, vehicle=car, role=role, sequence=sequence)
        validate_ready(now=NOW)
        pages = [browser.get("/")]
        settle_credit(now=NOW)
        pages.append(browser.get("/"))
        amounts = [
            (account.provisional_microcredits - 50 * (sequence - 1), account.pending_microcredits)
            for account in (page.context["credits"] for page in pages)
        ]
        text = pages[1].content.decode()
        seen.append((amounts, text[text.index("<h2>") :]))
        assert pages[1].context["credits"].earned_microcredits == 0
    assert seen == [([(50, 0), (50, 0)], seen[0][1])] * 3


def test_provisional_credits_are_told_apart(browser, owner, car) -> None:
    from tests.engine.audit_rows import make_audited_batch, put_replica
    from tests.engine.factories import NOW
    from workunits.pipeline.validate import validate_ready
    from workunits.selectors.fleet import OwnerCredits, get_credits

    put_replica(make_audited_batch(units=1), vehicle=car)
    validate_ready(now=NOW)
    assert get_credits(owner.pk) == OwnerCredits(
        earned_microcredits=0, provisional_microcredits=50, pending_microcredits=0
    )
