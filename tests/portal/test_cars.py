"""`/` and `/cars/…/remove`: an owner's cars and credits."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.portal.conftest import token_of


@pytest.fixture
def car(owner):
    from tests.engine.factories import make_vehicle

    return make_vehicle(owner)


def test_a_car_is_shown_with_its_reasons_and_last_contact(browser, car) -> None:
    from workunits.models import VehiclePresence

    VehiclePresence.objects.update(
        last_seen_at=timezone.now() - timedelta(hours=3), eligible=False, reasons=["soc_low", "a_new_reason"]
    )
    page = browser.get("/").content.decode().replace("\xa0", " ")
    assert car.name in page
    assert "battery too low" in page
    assert "a new reason" in page
    assert "Last seen 3 hours ago." in page


def test_credits_are_what_the_ledger_and_the_pending_items_say(browser, owner) -> None:
    from tests.engine.factories import NOW, Car, make_batch, make_vehicle
    from workunits.pipeline.credit import settle_credit
    from workunits.pipeline.validate import validate_ready
    from workunits.selectors.fleet import OwnerCredits, get_credits

    make_batch(units=3, quorum=1, reward=50)
    car = Car(make_vehicle(owner))
    car.lease(2)
    car.report_all()
    validate_ready(now=NOW)
    assert get_credits(owner.pk) == OwnerCredits(
        earned_microcredits=0, provisional_microcredits=0, pending_microcredits=100
    )
    settle_credit(now=NOW)
    assert get_credits(owner.pk) == OwnerCredits(
        earned_microcredits=100, provisional_microcredits=0, pending_microcredits=0
    )
    assert "<dd>0.0001</dd>" in browser.get("/").content.decode()


def test_removing_a_car_asks_first(browser, car) -> None:
    page = browser.get(f"/cars/{car.public_id}/remove")
    assert page.status_code == 200
    car.refresh_from_db()
    assert car.status == "active"
    answer = browser.post(f"/cars/{car.public_id}/remove", {"csrfmiddlewaretoken": token_of(page)})
    assert (answer.status_code, answer["Location"]) == (302, "/")
    car.refresh_from_db()
    assert car.status == "revoked"
    assert browser.get(f"/cars/{car.public_id}/remove").status_code == 404


def test_a_removed_car_gives_no_reasons_for_resting(browser, car) -> None:
    from workunits.models import Vehicle, VehiclePresence

    VehiclePresence.objects.update(last_seen_at=timezone.now(), eligible=False, reasons=["soc_low"])
    Vehicle.objects.update(status="revoked", revoked_at=timezone.now())
    page = browser.get("/").content.decode()
    assert "removed" in page
    assert "battery too low" not in page


def test_somebody_elses_car_is_not_there(browser, db) -> None:
    from tests.engine.factories import make_vehicle

    other = make_vehicle()
    page = browser.get("/")
    assert other.name not in page.content.decode()
    form = {"csrfmiddlewaretoken": token_of(browser.get("/pair"))}
    assert browser.post(f"/cars/{other.public_id}/remove", form).status_code == 404
    other.refresh_from_db()
    assert other.status == "active"


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (-2_000_000, "-2"), (10**12, "1,000,000")]
)
def test_amounts_are_written_exactly(amount, text) -> None:
    from fleetcompute.portal.templatetags.portal import as_credits

    assert as_credits(amount) == text


def suspect(car) -> None:
    from django.utils import timezone

    from workunits.models import Vehicle

    Vehicle.objects.filter(id=car.id).update(clone_suspected_at=timezone.now())


def test_a_car_whose_key_is_used_twice_says_so_until_its_owner_says_there_is_one(browser, car) -> None:
    assert "used twice" not in browser.get("/").content.decode()
    suspect(car)
    page = browser.get("/")
    assert "used twice" in page.content.decode()
    form = {"csrfmiddlewaretoken": token_of(page)}
    assert browser.post(f"/cars/{car.public_id}/one-computer", form).status_code == 302
    assert "used twice" not in browser.get("/").content.decode()


def test_nobody_else_ends_the_suspicion_and_no_link_does(browser, car) -> None:
    from tests.engine.factories import make_vehicle
    from workunits.models import Vehicle

    strangers = make_vehicle()
    suspect(strangers)
    suspect(car)
    form = {"csrfmiddlewaretoken": token_of(browser.get("/"))}
    assert browser.post(f"/cars/{strangers.public_id}/one-computer", form).status_code == 404
    assert browser.get(f"/cars/{car.public_id}/one-computer").status_code == 405
    assert browser.post(f"/cars/{car.public_id}/one-computer").status_code == 403
    assert Vehicle.objects.filter(clone_suspected_at__isnull=False).count() == 2
