"""Signs people up: owners with a password for the portal, a researcher with an API key."""

from __future__ import annotations

import os
from collections.abc import Mapping

import django
from django.utils import timezone

from bench.demo.cast import OWNERS, PASSWORD, PROJECT, RESEARCHER, username_of

SETTINGS = "fleetcompute.settings.development"


def open_installation(env: Mapping[str, str]) -> None:
    """Make this process work on an installation, whose environment is `env`. Once a process."""
    os.environ.update({**env, "DJANGO_SETTINGS_MODULE": SETTINGS})
    django.setup()


def sign_up_owners() -> None:
    """Make an account for each owner; the name in small letters signs in."""
    from workunits.pipeline.accounts import ensure_owner, ensure_user

    for name in OWNERS:
        user = ensure_user(username=username_of(name), email=f"{username_of(name)}@example.org", password=PASSWORD)
        ensure_owner(user_id=user.pk, display_name=name)


def sign_up_researcher() -> str:
    """Make the researcher, her project and an API key; return the key."""
    from workunits.pipeline.accounts import create_api_key, ensure_project, ensure_user

    user = ensure_user(username=RESEARCHER, email=f"{RESEARCHER}@example.org", password=PASSWORD)
    project = ensure_project(name=PROJECT, user_id=user.pk)
    return create_api_key(project_id=project.pk, name="demonstration", now=timezone.now()).secret
