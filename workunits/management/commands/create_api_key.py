"""`manage.py create_api_key --project NAME --user EMAIL`: make an API key and print it, once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from workunits.models import User
from workunits.pipeline.accounts import create_api_key, ensure_project
from workunits.selectors.keys import SCOPES


class Command(BaseCommand):
    """Make an API key of a project; the project is made if the user has none of that name."""

    help = "Make an API key of a project and print it. It is shown only now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, metavar="NAME")
        parser.add_argument("--user", required=True, metavar="EMAIL", help="a member of the project, by e-mail or name")
        parser.add_argument("--name", default="command line", help="what to call the key")
        parser.add_argument("--scope", action="append", choices=SCOPES, help="may be repeated; all by default")

    def handle(self, *args: Any, **options: Any) -> None:
        given = options["user"]
        user = User.objects.filter(email__iexact=given).first() or User.objects.filter(username=given).first()
        if user is None:
            raise CommandError(f"There is no user {given!r}.")
        project = ensure_project(name=options["project"], user_id=user.pk)
        scopes = options["scope"] or SCOPES
        key = create_api_key(project_id=project.pk, name=options["name"], scopes=scopes, now=timezone.now())
        self.stdout.write(key.secret)
