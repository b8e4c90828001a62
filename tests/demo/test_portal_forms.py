"""The demonstration's browser: forms as pages show them."""

from __future__ import annotations

import pytest

from bench.demo.portal import PortalError, find_form, read_forms

PAGE = """
<form action="/logout/" method="post"><input type="hidden" name="csrfmiddlewaretoken" value="a">
<button>Sign out</button></form>
<form method="post"><input type="hidden" name="csrfmiddlewaretoken" value="b"><input name="code" value="BCDF-GHJK">
<button name="number" value="42">42</button><button name="number" value="17">17</button>
<button name="decision" value="deny">Refuse</button></form>
<input name="stray">
"""


def test_each_form_has_its_own_fields_and_buttons() -> None:
    logout, pairing = read_forms(PAGE)
    assert (logout.action, logout.method, logout.fields) == ("/logout/", "post", {"csrfmiddlewaretoken": "a"})
    assert pairing.fields == {"csrfmiddlewaretoken": "b", "code": "BCDF-GHJK"}
    assert pairing.buttons == [("number", "42"), ("number", "17"), ("decision", "deny")]


def test_a_form_is_found_by_a_field_and_missed_by_name() -> None:
    assert find_form(PAGE, "code").fields["csrfmiddlewaretoken"] == "b"
    with pytest.raises(PortalError, match="no form with a field 'password'"):
        find_form(PAGE, "password")
