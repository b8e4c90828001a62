"""Signing in and out."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tests.portal.conftest import token_of


def test_pages_ask_strangers_to_sign_in(db) -> None:
    for path in ("/", "/pair?code=BCDF-GHJK", "/batches", "/batches/bat_x", "/cars/veh_x/remove"):
        answer = Client().get(path)
        assert (answer.status_code, answer["Location"].split("?")[0]) == (302, "/login/")


def test_an_owner_signs_in_and_out(owner) -> None:
    client = Client(enforce_csrf_checks=True)
    page = client.get("/login/", {"next": "/pair?code=BCDF-GHJK"})
    form = {"username": "olga", "password": "secret-words", "csrfmiddlewaretoken": token_of(page)}
    answer = client.post("/login/", {**form, "next": "/pair?code=BCDF-GHJK"})
    assert (answer.status_code, answer["Location"]) == (302, "/pair?code=BCDF-GHJK")
    home = client.get("/")
    assert home.status_code == 200
    client.post("/logout/", {"csrfmiddlewaretoken": token_of(home)})
    assert client.get("/").status_code == 302


def test_a_wrong_password_is_said_so(owner) -> None:
    answer = Client().post("/login/", {"username": "olga", "password": "wrong"})
    assert answer.status_code == 200
    assert "The name or the password is wrong." in answer.content.decode()


@pytest.mark.parametrize("path", ["/login/", "/", "/pair", "/problems", "/api/v1/docs"])
def test_pages_load_nothing_from_elsewhere_and_fit_a_phone(browser, path) -> None:
    page = browser.get(path).content.decode()
    assert 'name="viewport" content="width=device-width' in page
    assert "<script" not in page
    assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", page)


def test_an_unknown_page_is_a_page(db) -> None:
    answer = Client().get("/no/such/page")
    assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (404, "text/html")


def test_the_style_sheet_is_served(db) -> None:
    answer = Client().get("/static/portal/portal.css")
    assert answer.status_code == 200
    assert b"url(" not in answer.getvalue()
