"""An owner's browser, as far as the demonstration needs one: signs in and approves a car through the portal's forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin

import requests

TIMEOUT_SECONDS: Final = 30.0
NUMBER: Final = "number"


class PortalError(RuntimeError):
    """A page of the portal is not as expected."""


@dataclass
class Form:
    """A form as the page shows it. `buttons` are its submit buttons with a name."""

    action: str = ""
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class OwnerBrowser:
    """One owner's session; `origin` is the server's address."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.session = requests.Session()

    def sign_in(self, *, username: str, password: str) -> None:
        """Fill in the sign-in page. Raises PortalError when it shows up again."""
        page = self._get("/pair")  # sends whoever is not signed in to the sign-in page
        form = find_form(page.text, "password")
        answer = self._submit(page.url, form, {"username": username, "password": password})
        if "password" in _field_names(answer.text):
            raise PortalError(f"{username} could not sign in at {page.url}.")

    def approve(self, user_code: str, match_number: int) -> None:
        """Open the page that the car's code leads to, and pick the car's number. Raises PortalError when that fails."""
        page = self._get(f"/pair?code={user_code}")
        picked = (NUMBER, str(match_number))
        form = next((form for form in read_forms(page.text) if picked in form.buttons), None)
        if form is None:
            raise PortalError(f"The portal does not know the code {user_code} with the number {match_number}.")
        answer = self._submit(page.url, form, dict([picked]))
        if answer.url == page.url:
            raise PortalError(f"The portal did not take the approval of {user_code}.")

    def _get(self, path: str) -> requests.Response:
        return self._checked(self.session.get(self.origin + path, timeout=TIMEOUT_SECONDS))

    def _submit(self, url: str, form: Form, entered: dict[str, str]) -> requests.Response:
        target = urljoin(url, form.action)
        values = {**form.fields, **entered}
        if form.method.lower() == "get":
            return self._checked(self.session.get(target, params=values, timeout=TIMEOUT_SECONDS))
        headers = {"Referer": url}
        return self._checked(self.session.post(target, data=values, headers=headers, timeout=TIMEOUT_SECONDS))

    def _checked(self, response: requests.Response) -> requests.Response:
        if not response.ok:
            raise PortalError(f"{response.request.method} {response.url} was answered with {response.status_code}.")
        return response


def read_forms(html: str) -> list[Form]:
    """Return the page's forms in order."""
    reader = _FormReader()
    reader.feed(html)
    return reader.forms


def find_form(html: str, field_name: str) -> Form:
    """Return the page's form that has the field. Raises PortalError."""
    for form in read_forms(html):
        if field_name in form.fields:
            return form
    raise PortalError(f"The page has no form with a field {field_name!r}.")


def _field_names(html: str) -> set[str]:
    return {name for form in read_forms(html) for name in form.fields}


class _FormReader(HTMLParser):
    """Collects forms with their named fields and buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(action=given.get("action", ""), method=given.get("method", "get"))
            self.forms.append(self._open)
        elif self._open is not None and tag in ("input", "button", "select", "textarea") and given.get("name"):
            is_button = tag == "button" or given.get("type") == "submit"
            if is_button:
                self._open.buttons.append((given["name"], given.get("value", "")))
            else:
                self._open.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
