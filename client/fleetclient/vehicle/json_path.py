"""The place of a value in a JSON message: the small part of Home Assistant's templates that people write most."""

from __future__ import annotations

import json

ROOT = "value_json"


def find_value(text: str, path: str) -> object:
    """Return what stands at a path such as "value_json.battery.soc" or "doors.0", None when nothing does."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    steps = path.split(".")
    for step in steps[1:] if steps[0] == ROOT else steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
