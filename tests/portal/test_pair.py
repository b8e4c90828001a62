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


def answer(browser, code: str, **picked: str):
    page = browser.get("/pair", {"code": code})
    return browser.post("/pair", {"code": code, "csrfmiddlewaretoken": token_of(page), **picked})


def wrong_number(started) -> str:
    from workunits.models import DevicePairing

    choices = DevicePairing.objects.get(user_code=started.user_code).match_choices
    return str(next(number for number in choices if number != started.match_number))


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
    assert page.content.decode().count('name="number"') == 3
    assert f'name="number" value="{started.match_number}"' in page.content.decode()
    assert (states(), vehicles()) == (["pending"], 0)


def test_an_owner_approves_a_car(browser, owner, started) -> None:
    from workunits.models import Vehicle

    response = answer(browser, started.user_code, number=str(started.match_number))
    assert (response.status_code, response["Location"]) == (302, "/")
    car = Vehicle.objects.get()
    assert (car.owner_id, car.name, bytes(car.public_key)) == (owner.pk, "Blue <ID.3>", bytes(range(32)))
    assert states() == ["approved"]


def test_an_owner_refuses_a_car(browser, started) -> None:
    assert answer(browser, started.user_code, decision="deny").status_code == 302
    assert (states(), vehicles()) == (["denied"], 0)


def test_a_wrong_number_refuses_the_car_for_good(browser, started) -> None:
    page = answer(browser, started.user_code, number=wrong_number(started))
    assert page.status_code == 400
    assert "not the number on the car" in page.content.decode()
    assert (states(), vehicles()) == (["denied"], 0)
    assert answer(browser, started.user_code, number=str(started.match_number)).status_code == 400
    assert vehicles() == 0


@pytest.mark.parametrize("number", ["", "1", "042", "4 2", "-4", "x" * 5000, "²²"])
def test_what_is_no_number_approves_nothing(browser, started, number: str) -> None:
    answer(browser, started.user_code, number=number)
    assert vehicles() == 0


def test_the_old_way_of_approving_without_a_number_approves_nothing(browser, started) -> None:
    answer(browser, started.user_code, decision="approve")
    assert (states(), vehicles()) == (["pending"], 0)


def test_wrong_numbers_count_like_wrong_codes(browser, started) -> None:
    from workunits.pipeline.enrol import start_pairing

    for index in range(5):
        each = start_pairing(public_key=bytes([index] * 32), car_name="x", agent="y", now=timezone.now())
        assert answer(browser, each.user_code, number=wrong_number(each)).status_code == 400
    assert browser.get("/pair", {"code": started.user_code}).status_code == 429


def test_an_answer_without_the_forms_token_changes_nothing(browser, started) -> None:
    response = browser.post("/pair", {"code": started.user_code, "number": str(started.match_number)})
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
    response = client.post("/pair", {"code": started.user_code, "number": str(started.match_number)})
    assert response.status_code == 403
    assert (states(), vehicles()) == (["pending"], 0)


def test_no_code_is_looked_at_while_wrong_ones_cannot_be_counted(browser, started, settings) -> None:
    dead = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    page = browser.get("/pair")
    settings.CACHES = {"default": dead}
    sent = {"code": started.user_code, "csrfmiddlewaretoken": token_of(page), "number": str(started.match_number)}
    for response in (browser.get("/pair", {"code": started.user_code}), browser.post("/pair", sent)):
        assert response.status_code == 503
        assert "try again in a minute" in response.content.decode()
    assert (states(), vehicles()) == (["pending"], 0)
