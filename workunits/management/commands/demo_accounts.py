"""`manage.py demo_accounts`: the logins and the API key of a demonstration; running it again leaves one of each.

Their passwords are known to everybody, so it refuses to run where the settings are those of production.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from workunits.models import ApiKey
from workunits.pipeline.accounts import create_api_key, ensure_owner, ensure_project, ensure_user

PASSWORD: Final = "parked-cars"  # noqa: S105  (printed for whoever runs the demonstration)
PROJECT_NAME: Final = "Demonstration"
KEY_NAME: Final = "demonstration"
OWNERS_MAX: Final = 10_000


class Command(BaseCommand):
    """Make an operator, a researcher with a project and a key, and owners."""

    help = "Make the demonstration's logins and API key, and print them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--owners", type=int, default=1, metavar="N", help="how many owners (owner1 to ownerN)")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.SETTINGS_MODULE.endswith(".production"):
            raise CommandError("These logins have known passwords; they are not for production.")
        if not 1 <= options["owners"] <= OWNERS_MAX:
            raise CommandError(f"--owners must be 1 to {OWNERS_MAX}.")
        accounts = make_accounts(options["owners"])
        if options["json"]:
            self.stdout.write(json.dumps(accounts))
            return
        self.stdout.write(f"{'role':<12}{'name':<14}password")
        for login in accounts["logins"]:
            self.stdout.write(f"{login['role']:<12}{login['username']:<14}{login['password']}")
        self.stdout.write(f"API key of project {accounts['project']!r}: {accounts['api_key']}")


def make_accounts(owners: int) -> dict[str, Any]:
    """Make what is missing and return the logins, the owners' ids and a fresh API key.

    The earlier demonstration key is removed: only its digest is kept, so it could not be shown again.
    """
    logins = []
    operator = ensure_user(username="operator", email="operator@example.org", password=PASSWORD, is_operator=True)
    logins.append({"role": "operator", "username": operator.username, "password": PASSWORD})
    researcher = ensure_user(username="researcher", email="researcher@example.org", password=PASSWORD)
    logins.append({"role": "researcher", "username": researcher.username, "password": PASSWORD})
    project = ensure_project(name=PROJECT_NAME, user_id=researcher.pk)
    owner_rows = []
    for number in range(1, owners + 1):
        name = f"owner{number}"
        user = ensure_user(username=name, email=f"{name}@example.org", password=PASSWORD)
        owner = ensure_owner(user_id=user.pk, display_name=f"Owner {number}")
        logins.append({"role": "owner", "username": name, "password": PASSWORD})
        owner_rows.append({"username": name, "owner_id": owner.pk, "public_id": owner.public_id})
    ApiKey.objects.filter(project=project, name=KEY_NAME).delete()
    key = create_api_key(project_id=project.pk, name=KEY_NAME, now=timezone.now())
    return {
        "logins": logins,
        "owners": owner_rows,
        "project": project.name,
        "project_id": project.public_id,
        "api_key": key.secret,
    }
