"""The gates of heat and cold: cabin, battery pack, and the computer itself.

Work begins only `temp_hysteresis_c` inside the limits and goes on up to them. A stale reading that is outside of its
limits keeps the gate closed even where that sensor may be missing: age never opens a gate.
"""

from __future__ import annotations

import math

from fleetclient.rules.decision import Gate
from fleetclient.rules.gates_car import find_stale
from fleetclient.rules.scene import Finding, Scene
from fleetclient.rules.sentences import say


def judge_cabin(scene: Scene) -> Finding:
    """Open within the limits; without a fresh reading only where the owner allows that."""
    return _judge_signal(
        scene, "cabin_temp_c", max_c=scene.rules.cabin_max_c, is_needed=not scene.rules.work_when_cabin_unknown
    )


def judge_pack(scene: Scene) -> Finding:
    """Open within the limits, and where the car says nothing of its battery's temperature: few cars do."""
    return _judge_signal(scene, "pack_temp_c", max_c=scene.rules.pack_max_c, is_needed=False)


def judge_device(scene: Scene) -> Finding:
    """Open within the limits of this computer; where it has no sensor, as the owner allows."""
    max_c, min_c, temp = scene.rules.device_max_c, scene.rules.temp_min_c, scene.facts.device_temp_c
    if max_c is None and min_c is None:
        return _find_open("device_temp", "There is no limit.")
    if temp is None or not math.isfinite(temp):
        if scene.rules.work_when_device_temp_unknown:
            return _find_open("device_temp", "This computer's temperature is not known.")
        detail = say("signal_stale", signal="this computer's temperature")
        return Finding(
            gate=Gate(name="device_temp", is_open=False, reason="signal_stale", detail=detail, value="unknown")
        )
    return _judge_temp(scene, "device_temp", "computer", temp, max_c=max_c)


def _judge_signal(scene: Scene, name: str, *, max_c: float | None, is_needed: bool) -> Finding:
    gate_name, place = name.removesuffix("_c"), name.removesuffix("_temp_c")
    if max_c is None and scene.rules.temp_min_c is None:
        return _find_open(gate_name, "There is no limit.")
    heard = scene.hear(name)
    if is_needed and heard.known is None:
        return find_stale(heard, name=gate_name)
    if heard.last is None:
        return _find_open(gate_name, f"The {place}'s temperature is not known.")
    return _judge_temp(
        scene, gate_name, place, heard.last, max_c=max_c, age_seconds=heard.age_seconds, flips_in=heard.flips_in
    )


def _judge_temp(
    scene: Scene,
    name: str,
    place: str,
    temp: float,
    *,
    max_c: float | None,
    age_seconds: float | None = None,
    flips_in: float = math.inf,
) -> Finding:
    inside = 0.0 if scene.memory.was_allowed else scene.rules.temp_hysteresis_c
    high = math.inf if max_c is None else max_c - inside
    low = -math.inf if scene.rules.temp_min_c is None else scene.rules.temp_min_c + inside
    reason = "too_hot" if temp > high else "too_cold" if temp < low else ""
    limit = high if reason == "too_hot" else low
    closed = say(reason, place=place, temp=f"{temp:.0f}", limit=f"{limit:g}") if reason else ""
    gate = Gate(
        name=name,
        is_open=not reason,
        reason=reason,
        detail=closed or f"The {place} has {temp:.0f} °C.",
        value=f"{temp:.1f} °C",
        limit=f"{low:g} to {high:g} °C",
        age_seconds=age_seconds,
    )
    return Finding(gate=gate, flips_in=flips_in)


def _find_open(name: str, detail: str) -> Finding:
    return Finding(gate=Gate(name=name, is_open=True, detail=detail, value="unknown"))
