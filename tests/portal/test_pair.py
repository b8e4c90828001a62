"""`/pair`: an owner approves or refuses a car."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from tests.portal.conftest import token_of


@pytest.fixture
def started(db):
    from workunits.pipeline.enrol import start_pairing

    cache.clear()
    return start_pairing(public_key=bytes(range(32)), car_name="Blue <ID.3>", agent="fleetclient/1", now=timezone.now())


def answer(browser, code: str, decision: str):
    page = browser.get("/pair", {"code": code})
    form = {"code": code, "decision": decision, "csrfmiddlewaretoken": token_of(page)}
    return browser.post("/pair", form)


def states() -> list[str]:
    from workunits.models import DevicePairing

    return list(DevicePairing.objects.values_list("state", flat=True))


def vehicles() -> int:
    from workunits.models import Vehicle

    return Vehicle.objects.count()


def test_the_code_shows_the_car_and_approves_nothing_yet(browser, started) -> None:
    typed = started.user_code.lower().replace("-", " ")
    page = browser.get("/pair", {"code": typed})
    assert "Blue &lt;ID.3&gt;" in page.content.decode()
    assert started.user_code in page.content.decode()
    assert (states(), vehicles()) == (["pending"], 0)


def test_an_owner_approves_a_car(browser, owner, started) -> None:
    from workunits.models import Vehicle

    response = answer(browser, started.user_code, "approve")
    assert (response.status_code, response["Location"]) == (302, "/")
    car = Vehicle.objects.get()
    assert (car.owner_id, car.name, bytes(car.public_key)) == (owner.pk, "Blue <ID.3>", bytes(range(32)))
    assert states() == ["approved"]


def test_an_owner_refuses_a_car(browser, started) -> None:
    assert answer(browser, started.user_code, "deny").status_code == 302
    assert (states(), vehicles()) == (["denied"], 0)


def test_an_answer_without_the_forms_token_changes_nothing(browser, started) -> None:
    response = browser.post("/pair", {"code": started.user_code, "decision": "approve"})
    assert response.status_code == 403
    assert (states(), vehicles()) == (["pending"], 0)


def test_a_wrong_code_is_said_so(browser, started) -> None:
    page = browser.get("/pair", {"code": "ZZZZ-ZZZZ"})
    assert page.status_code == 400
    assert "no car is showing the code" in page.content.decode()


def test_an_old_code_is_said_so(browser, started) -> None:
    from workunits.models import DevicePairing

    DevicePairing.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert browser.get("/pair", {"code": started.user_code}).status_code == 400
    assert (states(), vehicles()) == (["pending"], 0)


def test_guessing_codes_is_cut_off(browser, started) -> None:
    for _ in range(5):
        assert browser.get("/pair", {"code": "ZZZZ-ZZZZ"}).status_code == 400
    assert browser.get("/pair", {"code": started.user_code}).status_code == 429


def test_somebody_without_cars_cannot_pair(client, started, django_user_model) -> None:
    client.force_login(django_user_model.objects.create(username="nobody"))
    response = client.post("/pair", {"code": started.user_code, "decision": "approve"})
    assert response.status_code == 403
    assert (states(), vehicles()) == (["pending"], 0)
