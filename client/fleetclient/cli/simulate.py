"""`simulate`: how many hours the owner's rules would give on the days of a simulated driver. No server, no agent.

The very function that decides in the agent is asked once for each minute of the days.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, tzinfo
from typing import Any, ClassVar

from fleetclient.cli.session import EXIT_OK, Session
from fleetclient.config import Config
from fleetclient.energy import PowerMeter
from fleetclient.errors import ClientError
from fleetclient.live import rules_in_force
from fleetclient.rules.decision import LocalFacts, Memory, Now
from fleetclient.rules.eligibility import evaluate
from fleetclient.vehicle.trace import iterate_trace

STEP_SECONDS = 60.0
WORKING = "working"


class DateInvalid(ClientError):
    """A day on the command line is no date; write it as 2026-01-05."""

    code: ClassVar[str] = "date_invalid"


@dataclass
class Hour:
    """One hour of the simulation: minutes by what the car did, `working` or the most telling reason why not."""

    start: datetime
    minutes: Counter[str] = field(default_factory=Counter)

    @property
    def main(self) -> str:
        """What the car did for most of the hour."""
        return self.minutes.most_common(1)[0][0]


def simulate(session: Session) -> int:
    """Print hours, energy and reasons."""
    options = session.options
    hours = list(
        run_days(session.config, days=options.days, seed=options.seed, start=_start(options.start, session.zone))
    )
    document = summarise(hours, watts=PowerMeter(session.config.energy).watts(is_working=True))
    session.show(document, _text(document, hours if options.hours else []))
    return EXIT_OK


def run_days(config: Config, *, days: int, seed: int, start: datetime) -> Iterator[Hour]:
    """Yield every hour of a seeded driver's life under the rules in force; `start` has the car's time zone."""
    rules, life = rules_in_force(config), replace(config.vehicle.simulation, seed=seed)
    memory, today, worked_seconds = Memory(), start.date(), 0.0
    hour: Hour | None = None
    for step in iterate_trace(life, start=start.replace(tzinfo=None), days=days, step_seconds=STEP_SECONDS):
        unix = start.timestamp() + step.elapsed
        local = datetime.fromtimestamp(unix, start.tzinfo)
        if local.date() != today:
            today, worked_seconds = local.date(), 0.0
        facts = LocalFacts(worked_seconds_today=worked_seconds)
        now = Now(unix=unix, elapsed=step.elapsed)
        decision = evaluate(step.signals, rules, now, facts=facts, memory=memory)
        memory = decision.memory
        worked_seconds += STEP_SECONDS if decision.allow else 0.0
        begins = local.replace(minute=0, second=0, microsecond=0)
        if hour is None or hour.start.timestamp() != begins.timestamp():
            if hour is not None:
                yield hour
            hour = Hour(start=begins)
        hour.minutes[WORKING if decision.allow else decision.reasons[0]] += 1
    if hour is not None:
        yield hour


def summarise(hours: list[Hour], *, watts: float) -> dict[str, Any]:
    """Return the result as plain values; energy at the wall by the owner's estimate."""
    by_day: dict[date, Counter[str]] = {}
    for hour in hours:
        by_day.setdefault(hour.start.date(), Counter()).update(hour.minutes)
    total = sum((minutes for minutes in by_day.values()), Counter())
    return {
        "worked_hours": _hours(total[WORKING]),
        "energy_kwh": round(total[WORKING] / 60 * watts / 1000, 3),
        "watts": round(watts, 1),
        "reasons_hours": {name: _hours(count) for name, count in total.most_common() if name != WORKING},
        "days": [
            {"date": day.isoformat(), "worked_hours": _hours(minutes[WORKING]), "reasons": _top_reasons(minutes)}
            for day, minutes in by_day.items()
        ],
        "hours": [
            {"start": hour.start.isoformat(), "worked_minutes": hour.minutes[WORKING], "minutes": dict(hour.minutes)}
            for hour in hours
        ],
    }


def _text(document: dict[str, Any], hours: list[Hour]) -> str:
    days = document["days"]
    summary = (
        f"{len(days)} days: {document['worked_hours']:.1f} hours of work,"
        f" {document['worked_hours'] / len(days):.1f} a day, about {document['energy_kwh']:.2f} kWh"
        f" at {document['watts']:.0f} W."
    )
    lines = [
        summary,
        "",
        "What held the car back (hours):",
        *(f"  {name:20} {count:7.1f}" for name, count in document["reasons_hours"].items()),
        "",
    ]
    lines += [f"{day['date']}  {day['worked_hours']:5.1f} h  {', '.join(day['reasons'])}" for day in days]
    if hours:
        lines += ["", *(f"{hour.start:%Y-%m-%d %H:%M}  {hour.minutes[WORKING]:2} min  {hour.main}" for hour in hours)]
    return "\n".join(lines)


def _top_reasons(minutes: Counter[str]) -> list[str]:
    return [name for name, _ in minutes.most_common() if name != WORKING][:3]


def _hours(minutes: int) -> float:
    return round(minutes / 60, 2)


def _start(text: str, zone: tzinfo) -> datetime:
    try:
        day = date.fromisoformat(text) if text else datetime.now(zone).date()
    except ValueError:
        raise DateInvalid(f"--start must be a day such as 2026-01-05, not {text!r}") from None
    return datetime.combine(day, time(), zone)
