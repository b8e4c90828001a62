"""`create_api_key` and `demo_accounts`."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.test import Client


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def scopes_of(key: str) -> list[str]:
    answer = Client().get("/api/v1/me", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    return answer.json()["scopes"]  # type: ignore[no-any-return]


def test_a_key_is_printed_once_and_works(db) -> None:
    from workunits.models import Project
    from workunits.pipeline.accounts import ensure_user

    ensure_user(username="rita", email="rita@example.org")
    first = run("create_api_key", "--project", "Icebergs", "--user", "Rita@example.org").strip()
    second = run("create_api_key", "--project", "Icebergs", "--user", "rita", "--scope", "models:read").strip()
    assert first != second
    assert scopes_of(second) == ["models:read"]
    assert "batches:write" in scopes_of(first)
    assert Project.objects.get().name == "Icebergs"


def test_a_key_for_nobody_is_refused(db) -> None:
    from workunits.models import Project

    with pytest.raises(CommandError, match="There is no user"):
        run("create_api_key", "--project", "P", "--user", "nobody@example.org")
    assert Project.objects.count() == 0


def test_demo_accounts_can_be_made_again(db) -> None:
    from workunits.models import ApiKey, Owner, Project, User

    first = json.loads(run("demo_accounts", "--owners", "3", "--json"))
    again = json.loads(run("demo_accounts", "--owners", "3", "--json"))
    assert first["owners"] == again["owners"]
    assert [login["username"] for login in again["logins"]] == ["operator", "researcher", "owner1", "owner2", "owner3"]
    counts = (User.objects.count(), Owner.objects.count(), Project.objects.count(), ApiKey.objects.count())
    assert counts == (5, 3, 1, 1)
    assert scopes_of(again["api_key"])
    for login in again["logins"]:
        assert Client().login(username=login["username"], password=login["password"])


def test_demo_accounts_are_shown_as_a_table(db) -> None:
    lines = run("demo_accounts").splitlines()
    assert lines[0].split() == ["role", "name", "password"]
    assert [line.split()[0] for line in lines[1:4]] == ["operator", "researcher", "owner"]
    assert "fleet_sk_live_" in lines[4]


def test_demo_accounts_are_not_for_production(db, settings) -> None:
    from workunits.models import User

    settings.SETTINGS_MODULE = "fleetcompute.settings.production"
    with pytest.raises(CommandError, match="not for production"):
        run("demo_accounts")
    assert User.objects.count() == 0
