"""The gates of the owner's wishes and budgets: pause, absence, hours and bytes a day, pay; and of this computer."""

from __future__ import annotations

import math
from collections.abc import Callable

from workunits.domain.owner_rules.calendar import (
    CLOCK_MAX_UNIX,
    CLOCK_MIN_UNIX,
    find_date,
    next_midnight,
    next_month,
)
from workunits.domain.owner_rules.decision import Gate
from workunits.domain.owner_rules.scene import Finding, Scene
from workunits.domain.owner_rules.sentences import say
from workunits.domain.owner_rules.settings import FOREVER

_Reset = Callable[[str, float], float]


def judge_pause(scene: Scene) -> Finding:
    """Open unless the owner has paused."""
    until = scene.facts.paused_until_unix
    if until is None or until <= scene.now.unix:
        return Finding(gate=Gate(name="pause", is_open=True, detail="Not paused."))
    return _find_paused(scene, "pause", until if math.isfinite(until) else None)


def judge_away(scene: Scene) -> Finding:
    """Open unless the car is in vacation, valet or service mode."""
    rules = scene.rules
    if rules.away_mode == "off":
        return Finding(gate=Gate(name="away", is_open=True, detail="Neither vacation nor valet nor service."))
    if rules.away_until == FOREVER:
        return _find_paused(scene, "away", None, why=rules.away_mode)
    until = find_date(rules.time_zone, rules.away_until)
    if until <= scene.now.unix:
        return Finding(gate=Gate(name="away", is_open=True, detail=f"The {rules.away_mode} is over."))
    return _find_paused(scene, "away", until, why=rules.away_mode)


def _find_paused(scene: Scene, name: str, until: float | None, **values: str) -> Finding:
    when = {} if until is None else {"time": scene.say_time(until)}
    detail = say("paused_user", **values, **when)
    gate = Gate(name=name, is_open=False, reason="paused_user", detail=detail, until_unix=until)
    return Finding(gate=gate, flips_in=math.inf if until is None else scene.seconds_until(until))


def judge_finishing(scene: Scene) -> Finding:
    """Always open, or what is held could not be finished: that no new work is taken is the agent's business."""
    detail = say("finishing") if scene.facts.is_finishing else "New work is taken."
    return Finding(gate=Gate(name="finishing", is_open=True, detail=detail))


def judge_confined(scene: Scene) -> Finding:
    """Open where the runner can be confined."""
    why = scene.facts.unconfined_reason
    if not why:
        return Finding(gate=Gate(name="confined", is_open=True, detail="Work can be confined on this computer."))
    return Finding(
        gate=Gate(name="confined", is_open=False, reason="unconfined", detail=say("unconfined", why=why), value=why)
    )


def judge_clock(scene: Scene) -> Finding:
    """Open while the clock shows a time that can be true: without it nobody knows whether a window is open."""
    now = scene.now.unix
    edge = min((edge - now for edge in (CLOCK_MIN_UNIX, CLOCK_MAX_UNIX) if edge > now), default=math.inf)
    if scene.is_clock_set:
        return Finding(gate=Gate(name="clock", is_open=True, detail="The clock is set."), flips_in=edge)
    detail = "This computer's clock is not set; idle until it is."
    return Finding(gate=Gate(name="clock", is_open=False, reason="signal_stale", detail=detail), flips_in=edge)


def judge_data_day(scene: Scene) -> Finding:
    """Open while today's bytes are below the cap of a day."""
    return _judge_data(scene, "data_day", scene.facts.bytes_today, scene.rules.data_day_gb_max, next_midnight)


def judge_data_month(scene: Scene) -> Finding:
    """Open while this month's bytes are below the cap of a month."""
    return _judge_data(scene, "data_month", scene.facts.bytes_this_month, scene.rules.data_month_gb_max, next_month)


def _judge_data(scene: Scene, name: str, used: float, cap_gb: float | None, next_reset: _Reset) -> Finding:
    if cap_gb is None or used < cap_gb * 1e9:
        detail = f"{used / 1e9:.2f} GB used."
        limit = "none" if cap_gb is None else f"< {cap_gb:g} GB"
        return Finding(gate=Gate(name=name, is_open=True, detail=detail, value=f"{used / 1e9:.2f} GB", limit=limit))
    until = next_reset(scene.rules.time_zone, scene.now.unix) if scene.is_clock_set and cap_gb > 0 else None
    period = "Daily" if name == "data_day" else "Monthly"
    when = {} if until is None else {"time": scene.say_time(until)}
    gate = Gate(
        name=name,
        is_open=False,
        reason="data_cap",
        detail=say("data_cap", period=period, limit=f"{cap_gb:g}", **when),
        until_unix=until,
        value=f"{used / 1e9:.2f} GB",
        limit=f"< {cap_gb:g} GB",
    )
    return Finding(gate=gate, flips_in=math.inf if until is None else scene.seconds_until(until))


def judge_hours_cap(scene: Scene) -> Finding:
    """Open while today's hours of work are below the cap."""
    worked, cap = scene.facts.worked_seconds_today, scene.rules.hours_day_max
    value, limit = f"{worked / 3600:.1f} h", "none" if cap is None else f"< {cap:g} h"
    if cap is None or worked < cap * 3600:
        # While work goes on, the hours grow though nobody reports anything.
        flips_in = math.inf if cap is None else cap * 3600 - worked
        gate = Gate(name="hours_day", is_open=True, detail=f"Worked {value} today.", value=value, limit=limit)
        return Finding(gate=gate, flips_in=flips_in)
    until = next_midnight(scene.rules.time_zone, scene.now.unix) if scene.is_clock_set and cap > 0 else None
    when = {} if until is None else {"time": scene.say_time(until)}
    detail = say("hours_cap", hours=f"{worked / 3600:.1f}", limit=f"{cap:g}", **when)
    gate = Gate(
        name="hours_day", is_open=False, reason="hours_cap", detail=detail, until_unix=until, value=value, limit=limit
    )
    return Finding(gate=gate, flips_in=math.inf if until is None else scene.seconds_until(until))


def judge_net(scene: Scene) -> Finding:
    """Open while work is expected to pay at least the owner's limit after electricity."""
    net, lowest = scene.facts.net_per_hour, scene.rules.min_net_per_hour
    if lowest is None:
        return Finding(gate=Gate(name="net", is_open=True, detail="There is no limit on the net pay.", limit="none"))
    unit = f" {scene.rules.currency}" if scene.rules.currency else ""
    limit = f"{lowest:g}{unit}"
    is_known = net is not None and math.isfinite(net)
    is_open = scene.rules.work_when_net_unknown if net is None or not is_known else net >= lowest
    value = f"{net:g}{unit}" if is_known else "unknown"
    closed = say("net_below_floor", net=value, limit=limit)
    gate = Gate(
        name="net",
        is_open=is_open,
        reason="" if is_open else "net_below_floor",
        detail=f"Net pay an hour: {value}." if is_open else closed,
        value=value,
        limit=f">= {limit}",
    )
    return Finding(gate=gate)
