"""Accounts: projects, their API keys, owners. In: names of people and projects. Out: rows, and a key's secret, once."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db import transaction

from workunits.models import ApiKey, Owner, Project, User
from workunits.selectors.keys import KEY_CHARS, KEY_START, PREFIX_CHARS, SCOPES

_LETTERS = string.ascii_letters + string.digits


class NewApiKey(NamedTuple):
    """A key that was just made. `secret` is shown to its owner now and never again: only its digest is kept."""

    row: ApiKey
    secret: str


def create_api_key(*, project_id: int, name: str, scopes: Iterable[str] = SCOPES, now: datetime) -> NewApiKey:
    """Make a key of the project with these scopes."""
    secret = KEY_START + "".join(secrets.choice(_LETTERS) for _ in range(KEY_CHARS - len(KEY_START)))
    row = ApiKey.objects.create(
        project_id=project_id,
        name=name,
        prefix=secret[:PREFIX_CHARS],
        secret_sha256=hashlib.sha256(secret.encode()).digest(),
        scopes=sorted(scopes),
        created_at=now,
    )
    return NewApiKey(row, secret)


def ensure_project(*, name: str, user_id: int) -> Project:
    """Return the user's project of that name, made if it is not there."""
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=user_id)
        project = user.projects.filter(name=name).first()
        if project is None:
            project = Project.objects.create(name=name)
            project.members.add(user)
        return project


def ensure_user(*, username: str, email: str, password: str | None = None, is_operator: bool = False) -> User:
    """Return the user with this name, made if it is not there; a given password replaces the old one."""
    user, created = User.objects.get_or_create(username=username, defaults={"email": email})
    if password is not None:
        user.set_password(password)
    elif created:
        user.set_unusable_password()
    user.is_staff = user.is_superuser = is_operator or user.is_superuser
    user.save()
    return user


def ensure_owner(*, user_id: int, display_name: str) -> Owner:
    """Return the owner that this user is, made if it is not there."""
    return Owner.objects.get_or_create(user_id=user_id, defaults={"display_name": display_name})[0]
