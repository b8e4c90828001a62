"""The owner's local rules made stricter by the server's: on every field the stricter of the two, never a looser one.

Whatever is allowed by `tighten(local, server)` is allowed by `local`, from the same memory. The server can take hours,
money or charge away from what the owner allows; it can grant nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

from fleetclient.rules.settings import FOREVER, RANGES, Rules
from fleetclient.rules.tariff import raise_prices
from fleetclient.rules.week import ALWAYS, NEVER, Week, intersect, unite

# Rules that limit nothing: `tighten(rules, LOOSEST) == rules`. What a server's document leaves out is as here.
LOOSEST: Final = Rules(
    start_soc_pct=0.0,
    stop_soc_pct=0.0,
    ready_by=((),) * 7,
    charge_limit_pct=0.0,
    battery_kwh=RANGES["battery_kwh"][0],
    charger_kw=RANGES["charger_kw"][1],
    ready_margin_hours=0.0,
    windows=ALWAYS,
    quiet_hours=NEVER,
    min_net_per_hour=None,
    work_when_net_unknown=True,
    cabin_max_c=None,
    device_max_c=None,
    pack_max_c=None,
    temp_min_c=None,
    temp_hysteresis_c=0.0,
    work_when_cabin_unknown=True,
    work_when_device_temp_unknown=True,
    only_home_network=False,
    work_while_charging_elsewhere=True,
    stop_on_sentry=False,
    hours_day_max=None,
    data_day_gb_max=None,
    data_month_gb_max=None,
    start_after_seconds=0.0,
    presence_stale_seconds=RANGES["presence_stale_seconds"][1],
    other_stale_seconds=RANGES["other_stale_seconds"][1],
    away_mode="off",
    away_until="2000-01-01",
)


def tighten(local: Rules, server: Rules) -> Rules:
    """Return the strictest of both.

    Where the car lives, what it is paid in and what power costs there are no limits but facts: the owner's local ones
    hold, and the server's where there are none. So the server's hours mean the wall clock of the owner's zone.
    """
    values = {
        item.name: _STRICTEST[item.name](getattr(local, item.name), getattr(server, item.name))
        for item in fields(Rules)
        if item.name in _STRICTEST
    }
    base, table = _get_tariff(local, server)
    mode, until = _get_away(local, server)
    return Rules(**values, price_per_kwh=base, price_table=table, away_mode=mode, away_until=until)


def _lowest(one: float | None, two: float | None) -> float | None:
    """Of two upper limits the lower; None is no limit."""
    return min((value for value in (one, two) if value is not None), default=None)


def _highest(one: float | None, two: float | None) -> float | None:
    """Of two lower limits the higher; None is no limit."""
    return max((value for value in (one, two) if value is not None), default=None)


def _known_highest(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else max(one, two)


def _known_lowest(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else min(one, two)


def _local_first(one: str, two: str) -> str:
    return one or two


def _either(one: bool, two: bool) -> bool:  # noqa: FBT001 - a fold over two values
    return one or two


def _both(one: bool, two: bool) -> bool:  # noqa: FBT001 - a fold over two values
    return one and two


def _unite_times(one: tuple[tuple[int, ...], ...], two: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(sorted({*first, *second})) for first, second in zip(one, two, strict=True))


_STRICTEST: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "start_soc_pct": max,
    "stop_soc_pct": max,
    "ready_by": _unite_times,
    "charge_limit_pct": max,
    # Not known is the strictest: the car then waits for as long as it charges.
    "battery_kwh": _known_highest,
    "charger_kw": _known_lowest,
    "ready_margin_hours": max,
    "time_zone": _local_first,
    "windows": intersect,
    "quiet_hours": unite,
    "currency": _local_first,
    "price_max_per_kwh": _lowest,
    "min_net_per_hour": _highest,
    "work_when_net_unknown": _both,
    "cabin_max_c": _lowest,
    "device_max_c": _lowest,
    "pack_max_c": _lowest,
    "temp_min_c": _highest,
    "temp_hysteresis_c": max,
    "work_when_cabin_unknown": _both,
    "work_when_device_temp_unknown": _both,
    "only_home_network": _either,
    "work_while_charging_elsewhere": _both,
    "stop_on_sentry": _either,
    "hours_day_max": _lowest,
    "data_day_gb_max": _lowest,
    "data_month_gb_max": _lowest,
    "start_after_seconds": max,
    "presence_stale_seconds": min,
    "other_stale_seconds": min,
}


def _get_tariff(local: Rules, server: Rules) -> tuple[float | None, Week]:
    """Return the price at each hour: the higher where both limit it, else that of the one that does."""
    is_limited = [rules.price_max_per_kwh is not None for rules in (local, server)]
    if all(is_limited) and local.price_per_kwh is not None and server.price_per_kwh is not None:
        bases = (local.price_per_kwh, server.price_per_kwh)
        return max(bases), raise_prices(local.price_table, server.price_table, bases=bases)
    is_servers = is_limited[1] if any(is_limited) else local.price_per_kwh is None
    teller = server if is_servers else local
    return teller.price_per_kwh, teller.price_table


def _get_away(local: Rules, server: Rules) -> tuple[str, str]:
    """Return the absence that lasts longer."""

    def length(rules: Rules) -> tuple[bool, bool, str, str]:
        return (rules.away_mode != "off", rules.away_until == FOREVER, rules.away_until, rules.away_mode)

    longest = max(local, server, key=length)
    return longest.away_mode, longest.away_until
