"""The gates of the weekly tables: allowed hours, quiet hours, and the price of power; and when all three are open."""

from __future__ import annotations

from collections.abc import Callable

from fleetclient.rules.calendar import DAY_SECONDS, HORIZON_DAYS, find_next, get_value, is_clock_set
from fleetclient.rules.decision import Gate
from fleetclient.rules.scene import Finding, Scene
from fleetclient.rules.sentences import say
from fleetclient.rules.settings import Rules
from fleetclient.rules.week import Week

Test = Callable[[float], bool]


def judge_windows(scene: Scene) -> Finding:
    """Open in the hours that the owner allows."""
    return _judge(scene, "windows", scene.rules.windows, _is_laid, good="Within the allowed hours")


def judge_quiet(scene: Scene) -> Finding:
    """Open outside of the quiet hours."""
    return _judge(scene, "quiet_hours", scene.rules.quiet_hours, _is_not_laid, good="Outside of the quiet hours")


def judge_price(scene: Scene) -> Finding:
    """Open while power costs no more than the owner's limit."""
    rules = scene.rules
    if rules.price_max_per_kwh is None or rules.price_per_kwh is None:
        detail = "There is no limit on the price of power."
        return Finding(
            gate=Gate(name="price", is_open=True, detail=detail, value=_say_price(rules, scene), limit="none")
        )
    return _judge(
        scene, "price", rules.price_table, _is_cheap(rules), good="Power is cheap enough", default=rules.price_per_kwh
    )


def find_open(rules: Rules, unix: float) -> float | None:
    """Return the first instant from `unix` on at which all three gates are open; None if not within 16 days."""
    tables: list[tuple[Week, float, Test]] = [(rules.windows, 0.0, _is_laid), (rules.quiet_hours, 0.0, _is_not_laid)]
    if rules.price_max_per_kwh is not None and rules.price_per_kwh is not None:
        tables.append((rules.price_table, rules.price_per_kwh, _is_cheap(rules)))
    instant, end = unix, unix + HORIZON_DAYS * DAY_SECONDS
    while is_clock_set(instant) and instant < end:
        began = instant
        for week, default, matches in tables:
            found = find_next(week, rules.time_zone, instant, matches, default=default)
            if found is None:
                return None
            instant = found
        if instant == began:
            return instant
    return None


def _judge(scene: Scene, name: str, week: Week, matches: Test, *, good: str, default: float = 0.0) -> Finding:
    reason = "price_high" if name == "price" else "outside_hours"
    if not scene.is_clock_set:
        detail = say("signal_stale", signal="the time")
        return Finding(gate=Gate(name=name, is_open=False, reason="signal_stale", detail=detail, value="unknown"))
    zone, unix = scene.rules.time_zone, scene.now.unix
    value = get_value(week, zone, unix, default=default)
    is_open = matches(value)
    edge = find_next(week, zone, unix, (lambda value: not matches(value)) if is_open else matches, default=default)
    when = {} if edge is None else {"time": scene.say_time(edge)}
    numbers = _get_price_numbers(scene.rules, value) if name == "price" else {}
    until = f", until {when['time']}." if when else "."
    gate = Gate(
        name=name,
        is_open=is_open,
        reason="" if is_open else reason,
        detail=good + until if is_open else say(reason, **numbers, **when),
        until_unix=None if is_open else edge,
        value=numbers.get("price", "yes" if is_open else "no"),
        limit=f"<= {numbers['limit']}" if numbers else "",
    )
    closes_at = edge if is_open else None
    return Finding(
        gate=gate, flips_in=float("inf") if edge is None else scene.seconds_until(edge), closes_at_unix=closes_at
    )


def _is_laid(value: float) -> bool:
    return value > 0


def _is_not_laid(value: float) -> bool:
    return value <= 0


def _is_cheap(rules: Rules) -> Test:
    highest = rules.price_max_per_kwh
    return lambda price: highest is None or price <= highest


def _get_price_numbers(rules: Rules, price: float) -> dict[str, str]:
    unit = f" {rules.currency}" if rules.currency else ""
    return {"price": f"{price:g}{unit}/kWh", "limit": f"{rules.price_max_per_kwh:g}{unit}/kWh"}


def _say_price(rules: Rules, scene: Scene) -> str:
    if rules.price_per_kwh is None or not scene.is_clock_set:
        return "unknown"
    price = get_value(rules.price_table, rules.time_zone, scene.now.unix, default=rules.price_per_kwh)
    return f"{price:g}{' ' + rules.currency if rules.currency else ''}/kWh"
