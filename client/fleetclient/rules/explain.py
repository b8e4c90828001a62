"""Every gate of a decision, for people and for programs: `fleetclient rules explain`."""

from __future__ import annotations

from typing import Any

from fleetclient.rules.calendar import say_time
from fleetclient.rules.decision import Decision, Gate, Now


def explain_text(decision: Decision, now: Now, *, time_zone: str) -> str:
    """Return the verdict and one line for each gate, closed ones marked; times are on the car's wall clock."""
    rows = [_row(gate, now, time_zone) for gate in decision.gates]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    cells = [[cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)] for row in rows]
    return "\n".join([_say_verdict(decision, now, time_zone), "", *("  ".join(line).rstrip() for line in cells)])


def explain_document(decision: Decision) -> dict[str, Any]:
    """Return the same as plain values, for JSON."""
    return {
        "allow": decision.allow,
        "reasons": list(decision.reasons),
        "next_check_seconds": decision.next_check_seconds,
        "until_unix": decision.until_unix,
        "gates": [
            {
                "name": gate.name,
                "open": gate.is_open,
                "reason": gate.reason,
                "detail": gate.detail,
                "value": gate.value,
                "limit": gate.limit,
                "age_seconds": gate.age_seconds,
                "opens_unix": gate.until_unix,
            }
            for gate in decision.gates
        ],
    }


def get_sentence(decision: Decision) -> str:
    """Return the one sentence that says why the car does not work: that of the most telling closed gate."""
    closed = [gate for reason in decision.reasons for gate in decision.gates if gate.reason == reason]
    return closed[0].detail if closed else "All gates are open."


def _say_verdict(decision: Decision, now: Now, time_zone: str) -> str:
    until = decision.until_unix
    when = "" if until is None else say_time(time_zone, now.unix, until)
    if decision.allow:
        return "The car may work." if until is None else f"The car may work, until {when} at the latest."
    start = "Nobody can say when it may begin." if until is None else f"It may begin {when} at the earliest."
    return f"The car may not work: {get_sentence(decision)} {start}"


def _row(gate: Gate, now: Now, time_zone: str) -> tuple[str, str, str, str, str, str]:
    age = "" if gate.age_seconds is None else f"{gate.age_seconds:.0f} s ago"
    opens = "" if gate.until_unix is None else f" (opens {say_time(time_zone, now.unix, gate.until_unix)})"
    return "open" if gate.is_open else "CLOSED", gate.name, gate.value, gate.limit, age, gate.detail + opens
