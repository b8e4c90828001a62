"""`history` and `data`: what the car has done, and what it has said about itself."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fleetclient.cli.session import EXIT_OK, Session
from fleetclient.clock import wall_seconds
from fleetclient.history import list_sessions
from fleetclient.usage import UsageMeter
from fleetclient.words import UNKNOWN, say_bytes, say_moment, say_seconds

DAY_SECONDS = 86400.0
NEVER_LEAVES = (
    "The car's position, route, speed and odometer.",
    "Its identification number, and the account at its maker.",
    "The values of its signals: only whether it may compute, and reason codes such as soc_low.",
    "The name of your Wi-Fi, and your rules.",
    "The private key, which was made here.",
)
# In the order of the message. What is not named here is shown under its own name.
FIELDS = {
    "protocol": "version of the message's form",
    "agent.version": "version of this client",
    "agent.runtime": "version of the program that computes",
    "agent.class": "kind of processor and precision, which the last digits of a result depend on",
    "agent.instance": "a hash that names this installation, so that a copy of this car's key is noticed",
    "agent.boot": "a hash that names this start of the client, for the same",
    "agent.walls": "which walls hold around work here",
    "state.eligible": "may the car compute now",
    "state.reasons": "if not: the codes of the reasons",
    "state.clock_skew_seconds": "how far this computer's clock is from the server's",
    "capacity.replicas": "how much more work it would take",
    "capacity.memory_bytes": "memory that you grant",
    "capacity.opset_max": "newest kind of model it can run",
    "models": "models that are here already (their hashes)",
    "held": "work it has (random names)",
    "commitments": "results it has finished: hash, size and seconds of each",
    "returned": "work it gives back, and why",
}


def history(session: Session) -> int:
    """Print the sessions and days of the last time."""
    now, zone = wall_seconds(), session.zone
    since = now - session.options.days * DAY_SECONDS
    state = session.state
    sessions = list_sessions(state.history, since_unix=since)
    first = datetime.fromtimestamp(since, zone).date().isoformat()
    days = [day for day in _list_days(session, now) if day["date"] >= first]
    document = {"sessions": [asdict(each) for each in sessions], "days": days}
    lines = [
        f"{say_moment(each.began_at, now_unix=now, zone=zone)}  worked {say_seconds(each.worked_seconds)},"
        f" {each.units} units, {each.rows} rows, {say_bytes(each.bytes_moved)}, {each.energy_wh / 1000:.2f} kWh;"
        f" {f'ended: {each.reason}' if each.reason else 'goes on'}"
        for each in sessions
    ]
    lines += ["", *(_day_line(day) for day in days)] if days else []
    session.show(document, "\n".join(lines) or "The car has not worked yet.")
    return EXIT_OK


def _list_days(session: Session, now: float) -> list[dict[str, Any]]:
    """Return what each day has cost. The stored counts run ahead while an agent runs, so it is asked for today's."""
    days = {
        day: {"bytes_moved": usage.bytes_moved, "worked_seconds": usage.worked_seconds, "energy_wh": usage.energy_wh}
        for day, usage in UsageMeter(session.state.usage).list_days().items()
    }
    live = session.live_status()
    if live is not None:
        usage, zone = live["usage"], ZoneInfo(session.config.rules.time_zone or "UTC")
        days[datetime.fromtimestamp(now, zone).date().isoformat()] = {
            "bytes_moved": usage["bytes_today"],
            "worked_seconds": usage["worked_seconds_today"],
            "energy_wh": usage["energy_wh_today"],
        }
    return [{"date": day, **usage} for day, usage in sorted(days.items())]


def data(session: Session) -> int:
    """Show the last message to the server, and what is never in one."""
    last = _read_last(session)
    sent = [{"field": name, "meaning": FIELDS.get(name, ""), "value": value} for name, value in _flatten(last)]
    document = {"sent_at": last.get("at"), "fields": sent, "never_leaves": list(NEVER_LEAVES)}
    session.show(document, _data_text(session, last, sent))
    return EXIT_OK


def _read_last(session: Session) -> dict[str, Any]:
    try:
        document = json.loads((session.config.state_dir / "last-sync.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _flatten(last: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the message's members, those of its objects by dotted names; lists stay whole."""
    members: list[tuple[str, Any]] = []
    for name, value in last.get("message", {}).items():
        if isinstance(value, dict):
            members += [(f"{name}.{inner}", each) for inner, each in value.items()]
        else:
            members.append((name, value))
    return members


def _data_text(session: Session, last: dict[str, Any], sent: list[dict[str, Any]]) -> str:
    lines: list[str] = []
    if sent:
        when = say_moment(last["at"], now_unix=wall_seconds(), zone=session.zone)
        lines.append(f"The last message to {session.config.server} went out at {when}. It said:\n")
        for each in sent:
            lines.append(f"  {each['field']}" + (f" - {each['meaning']}" if each["meaning"] else ""))
            lines.append(textwrap.indent(_short(each["value"]), "      "))
        lines.append(f"\n  and {say_bytes(last.get('attachment_bytes', 0))} of results behind it.")
    else:
        lines.append("This car has not sent a message yet.")
    lines += ["", "Beside messages it sends signed requests for models and inputs, and large results.", ""]
    lines += ["What never leaves the car:", *(f"  - {each}" for each in NEVER_LEAVES)]
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 3:
        return "\n".join([*(json.dumps(each) for each in value[:3]), f"… and {len(value) - 3} more (--json shows all)"])
    if isinstance(value, list):
        return "\n".join(json.dumps(each) for each in value) or "none"
    return json.dumps(value, ensure_ascii=False)


def _day_line(day: dict[str, Any]) -> str:
    energy = UNKNOWN if day["energy_wh"] is None else f"{day['energy_wh'] / 1000:.2f} kWh"
    return f"{day['date']}  worked {say_seconds(day['worked_seconds'])}, {say_bytes(day['bytes_moved'])}, {energy}"
