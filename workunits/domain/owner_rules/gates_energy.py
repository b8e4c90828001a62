"""The gates of the battery: enough charge to begin, and the car's own charging first."""

from __future__ import annotations

import math
from typing import Final

from workunits.domain.owner_rules.calendar import next_time
from workunits.domain.owner_rules.decision import Gate
from workunits.domain.owner_rules.gates_car import find_stale
from workunits.domain.owner_rules.scene import Finding, Heard, Scene
from workunits.domain.owner_rules.sentences import say
from workunits.domain.owner_rules.settings import Rules

# Of the charger's power this much arrives in the battery, and the computer takes this much of it away while it works.
CHARGE_EFFICIENCY: Final = 0.9
COMPUTER_KW: Final = 0.5
# A plugged-in battery that lost so much is fed by nobody, whatever the car says of its cable; one that then gained so
# much is fed again.
FALL_PCT: Final = 2.0
RISE_PCT: Final = 1.0


def get_soc_floor(scene: Scene) -> float:
    """Return the charge that is enough: less for going on than for beginning, percent."""
    return scene.rules.stop_soc_pct if scene.memory.was_allowed else scene.rules.start_soc_pct


def judge_soc(scene: Scene) -> Finding:
    """Open from the floor upwards."""
    soc = scene.hear("soc_pct")
    if soc.known is None:
        return find_stale(soc)
    floor, is_open = get_soc_floor(scene), soc.known >= get_soc_floor(scene)
    until = None if is_open else _guess_charged(scene, soc.known, floor)
    values = {"soc": f"{soc.known:g}", "start": f"{floor:g}"}
    if until is not None:
        values["time"] = scene.say_time(until)
    gate = Gate(
        name="soc_pct",
        is_open=is_open,
        reason="" if is_open else "soc_low",
        detail=f"Battery {soc.known:g} %, at least {floor:g} %." if is_open else say("soc_low", **values),
        until_unix=until,
        value=f"{soc.known:g} %",
        limit=f">= {floor:g} %",
        age_seconds=soc.age_seconds,
    )
    return Finding(gate=gate, flips_in=soc.flips_in)


def judge_socket(scene: Scene) -> Finding:
    """Closed from when the battery of a plugged-in car falls until it rises again or the cable is out: a dead socket.

    Work would otherwise take the charge down to the floor, and the owner would find neither that nor a full battery.
    """
    plugged, soc = scene.hear("plugged_in"), scene.hear("soc_pct")
    flips_in = min(plugged.flips_in, soc.flips_in)
    if plugged.known is False:
        return Finding(gate=Gate(name="socket", is_open=True, detail="No cable to doubt."), flips_in=flips_in)
    if plugged.known is None or soc.known is None:
        return find_stale(soc if plugged.known else plugged, name="socket", flips_in=flips_in)
    mark, has_fallen = follow_charge(scene)
    limit = soc.known if mark is None else mark + RISE_PCT if has_fallen else mark - FALL_PCT
    closed = say("not_plugged_in", soc=f"{soc.known:g}", start=f"{limit:g}")
    gate = Gate(
        name="socket",
        is_open=not has_fallen,
        reason="not_plugged_in" if has_fallen else "",
        detail=closed if has_fallen else "The battery keeps its charge on the cable.",
        value=f"{soc.known:g} %",
        limit=f">= {limit:g} %" if has_fallen else f"> {limit:g} %",
        age_seconds=soc.age_seconds,
    )
    return Finding(gate=gate, flips_in=flips_in)


def follow_charge(scene: Scene) -> tuple[float | None, bool]:
    """Return `charge_mark_pct` and `has_fallen` of the next memory. What is not known changes neither."""
    mark, has_fallen = scene.memory.charge_mark_pct, scene.memory.has_fallen
    plugged, soc = scene.hear("plugged_in").known, scene.hear("soc_pct").known
    if plugged is False:
        return None, False
    if plugged is None or soc is None:
        return mark, has_fallen
    if mark is None:
        return soc, False
    if has_fallen:
        return (soc, False) if soc >= mark + RISE_PCT else (min(mark, soc), True)
    return (soc, True) if soc <= mark - FALL_PCT else (max(mark, soc), False)


def judge_ready(scene: Scene) -> Finding:
    """Closed while the car charges and is below the floor, or would not reach its limit before the ready-by time.

    A car that is not known to be idle counts as charging. Where battery or charger are not known, or the zone that the
    ready-by time is in, it is closed for as long as the car charges below its limit.
    """
    soc, charging, limit = (scene.hear(name) for name in ("soc_pct", "charging", "charge_limit_pct"))
    flips_in = min(soc.flips_in, charging.flips_in, limit.flips_in)
    if soc.known is None:
        return find_stale(soc, name="ready_by", flips_in=flips_in)
    target = _get_target(scene.rules, limit)
    if charging.known is not False and soc.known < get_soc_floor(scene):
        return _close(scene, charging, soc=soc.known, target=get_soc_floor(scene), flips_in=flips_in)
    if charging.known is False or soc.known >= target or not any(scene.rules.ready_by):
        return Finding(gate=Gate(name="ready_by", is_open=True, detail="No charging to wait for."), flips_in=flips_in)
    ready_at = _get_ready_at(scene)
    starts_at = ready_at - _hours_to_charge(scene.rules, soc.known, target, is_working=True) * 3600
    starts_at -= scene.rules.ready_margin_hours * 3600
    if scene.now.unix >= starts_at:
        edge = min(flips_in, scene.seconds_until(ready_at))
        return _close(scene, charging, soc=soc.known, target=target, flips_in=edge, ready_at=ready_at)
    detail = f"Charged to {target:g} % in time for {scene.say_time(ready_at)}; must have the charger by then."
    gate = Gate(name="ready_by", is_open=True, detail=detail, value=f"{soc.known:g} %", limit=f"{target:g} %")
    edge = min(flips_in, scene.seconds_until(starts_at))
    return Finding(gate=gate, flips_in=edge, closes_at_unix=starts_at)


def _close(
    scene: Scene, charging: Heard, *, soc: float, target: float, flips_in: float, ready_at: float = math.inf
) -> Finding:
    if charging.known is None:
        return find_stale(charging, name="ready_by", flips_in=flips_in)
    charged_at = _guess_charged(scene, soc, target)
    until = None if charged_at is None else min(charged_at, ready_at)
    when = {} if until is None else {"time": scene.say_time(until)}
    gate = Gate(
        name="ready_by",
        is_open=False,
        reason="charging_first",
        detail=say("charging_first", target=f"{target:g}", **when),
        until_unix=until,
        value=f"{soc:g} %",
        limit=f"{target:g} %",
        age_seconds=charging.age_seconds,
    )
    return Finding(gate=gate, flips_in=flips_in)


def _get_target(rules: Rules, limit: Heard) -> float:
    """Return the charge the car charges to. One that was heard long ago can only raise the owner's own number."""
    if limit.known is not None:
        return limit.known
    return max(limit.last or 0.0, rules.charge_limit_pct)


def _get_ready_at(scene: Scene) -> float:
    """Return the next ready-by time: now, where the zone it is in is not known."""
    if not scene.rules.time_zone or not scene.is_clock_set:
        return scene.now.unix
    ready_at = next_time(scene.rules.ready_by, scene.rules.time_zone, scene.now.unix)
    return math.inf if ready_at is None else ready_at


def _hours_to_charge(rules: Rules, soc_pct: float, target_pct: float, *, is_working: bool) -> float:
    """Return an estimate: energy over power, infinity where either is not known or the computer takes it all."""
    if rules.battery_kwh is None or rules.charger_kw is None:
        return math.inf
    power_kw = rules.charger_kw * CHARGE_EFFICIENCY - (COMPUTER_KW if is_working else 0.0)
    return rules.battery_kwh * (target_pct - soc_pct) / 100 / power_kw if power_kw > 0 else math.inf


def _guess_charged(scene: Scene, soc_pct: float, target_pct: float) -> float | None:
    """Return about when a charging car will have reached a charge, None where nobody can say."""
    if scene.hear("charging").known is not True:
        return None
    hours = _hours_to_charge(scene.rules, soc_pct, target_pct, is_working=False)
    return scene.now.unix + hours * 3600 if math.isfinite(hours) else None
