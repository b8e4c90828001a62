"""`manage.py set_vehicle_rules VEHICLE (RULES.json | --clear)`: what we ask of a car on top of its owner's rules."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workunits.domain.errors import FleetError
from workunits.pipeline.identity import set_vehicle_rules


class Command(BaseCommand):
    """Give one vehicle rules, which its client joins with the owner's: of both, the stricter holds."""

    help = (
        "Give a vehicle rules that tighten its owner's, from a JSON file, or take them away. The next sync brings them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("vehicle", help="the vehicle's id, veh_…")
        parser.add_argument("file", nargs="?", type=Path, metavar="RULES.json", help="keys as in the client's [rules]")
        parser.add_argument("--clear", action="store_true", help="leave the car to its owner's rules alone")

    def handle(self, *args: Any, **options: Any) -> None:
        if (options["file"] is None) != options["clear"]:
            raise CommandError("Name a file with rules, or say --clear.")
        rules = None if options["clear"] else _read(options["file"])
        try:
            is_known = set_vehicle_rules(public_id=options["vehicle"], rules=rules)
        except FleetError as error:
            raise CommandError(f"These are no rules: {error}.") from None
        if not is_known:
            raise CommandError(f"There is no vehicle {options['vehicle']!r}.")
        self.stdout.write("The owner's rules alone hold." if rules is None else f"Set: {', '.join(sorted(rules))}.")


def _read(path: Path) -> dict[str, Any]:
    try:
        rules = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise CommandError(f"{path} is not JSON: {error}.") from None
    if not isinstance(rules, dict):
        raise CommandError(f"{path} must hold one JSON object.")
    return rules
