"""People who sign in."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.engine.conftest import board_without_memory  # noqa: F401  (each test sees its own batches only)


@pytest.fixture
def owner(db):
    from workunits.pipeline.accounts import ensure_owner, ensure_user

    user = ensure_user(username="olga", email="olga@example.org", password="secret-words")
    return ensure_owner(user_id=user.pk, display_name="Olga")


@pytest.fixture
def browser(owner) -> Client:
    """The owner's browser, signed in, with CSRF checks as in life."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner.user)
    return client


def token_of(page) -> str:
    """Return the CSRF token of a page's form."""
    return str(page.context["csrf_token"])
