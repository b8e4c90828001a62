"""The owner's rules: every setting, its unit and its default; always whole and valid, or RulesInvalid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetclient.rules.errors import RulesInvalid
from fleetclient.rules.tariff import check_table
from fleetclient.rules.values import check_zone, is_date, suggest
from fleetclient.rules.week import ALWAYS, MINUTES, NEVER, Week

Times = tuple[tuple[int, ...], ...]

# The range of every number, both ends allowed, in the unit of the setting.
RANGES: Final[dict[str, tuple[float, float]]] = {
    "start_soc_pct": (0, 100),
    "stop_soc_pct": (0, 100),
    "charge_limit_pct": (0, 100),
    "battery_kwh": (1, 1000),
    "charger_kw": (0.1, 1000),
    "ready_margin_hours": (0, 24),
    "price_per_kwh": (-1e9, 1e9),
    "price_max_per_kwh": (-1e9, 1e9),
    "min_net_per_hour": (-1e9, 1e9),
    "cabin_max_c": (-40, 85),
    "device_max_c": (-40, 125),
    "pack_max_c": (-40, 85),
    "temp_min_c": (-40, 40),
    "temp_hysteresis_c": (0, 20),
    "hours_day_max": (0, 25),
    "data_day_gb_max": (0, 1e6),
    "data_month_gb_max": (0, 1e6),
    "start_after_seconds": (0, 3600),
    "presence_stale_seconds": (1, 3600),
    "other_stale_seconds": (1, 3600),
}
AWAY_MODES: Final = ("off", "vacation", "valet", "service")
FOREVER: Final = "forever"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What the owner allows. None means "no limit" in a limit and "not known" in a fact; never anything unsaid.

    That the car is plugged in and parked is no setting: without both it never works.

    Attributes:
        start_soc_pct, stop_soc_pct: work begins at this charge and stops below the other, percent.
        ready_by: for each weekday (Monday first) the minutes of the day at which the car must be charged.
        charge_limit_pct: taken for the car's charge limit while the car does not tell its own, percent.
        battery_kwh, charger_kw: to estimate how long charging takes; None (not known): as long as it charges.
        ready_margin_hours: charged this much before the ready-by time.
        time_zone: IANA name of the zone that the car lives in; empty where it is not known.
        windows: the weekly hours in which work is allowed.
        quiet_hours: the weekly hours in which nothing may hum, whatever `windows` says.
        price_per_kwh, price_table: what power costs, and at which hours it costs something else; in `currency`.
        price_max_per_kwh: no work while power costs more.
        min_net_per_hour: no work that pays less than this after electricity, in `currency`.
        work_when_net_unknown: work while nobody can say what it would pay.
        cabin_max_c, device_max_c, pack_max_c: stop above; temp_min_c: stop when cabin, device or pack are below.
        temp_hysteresis_c: begin only this far inside those limits.
        work_when_cabin_unknown, work_when_device_temp_unknown: work though no such sensor speaks.
        only_home_network: only on the allowed networks, for every byte.
        work_while_charging_elsewhere: also at chargers away from home, which may be fast chargers paid by the minute.
        stop_on_sentry: no work while the car watches its surroundings, which costs power of its own.
        hours_day_max: hours of work a day. data_day_gb_max, data_month_gb_max: 10^9 bytes sent and received.
        start_after_seconds: everything must have been well for so long before work begins. It stops at once.
        presence_stale_seconds: how old `parked`, `plugged_in` and `user_present` may be; other_stale_seconds: the rest.
        away_mode, away_until: vacation, valet or service: no work before this day (2026-08-15) or "forever".
    """

    start_soc_pct: float = 70.0
    stop_soc_pct: float = 65.0
    ready_by: Times = ((420,),) * 7
    charge_limit_pct: float = 80.0
    battery_kwh: float | None = None
    charger_kw: float | None = None
    ready_margin_hours: float = 0.5
    time_zone: str = ""
    windows: Week = ALWAYS
    quiet_hours: Week = NEVER
    currency: str = ""
    price_per_kwh: float | None = None
    price_table: Week = NEVER
    price_max_per_kwh: float | None = None
    min_net_per_hour: float | None = 0.0
    work_when_net_unknown: bool = True
    cabin_max_c: float | None = 45.0
    device_max_c: float | None = 80.0
    pack_max_c: float | None = 45.0
    temp_min_c: float | None = 0.0
    temp_hysteresis_c: float = 3.0
    work_when_cabin_unknown: bool = False
    work_when_device_temp_unknown: bool = True
    only_home_network: bool = True
    work_while_charging_elsewhere: bool = False
    stop_on_sentry: bool = False
    hours_day_max: float | None = 10.0
    data_day_gb_max: float | None = 4.0
    data_month_gb_max: float | None = 20.0
    start_after_seconds: float = 60.0
    presence_stale_seconds: float = 300.0
    other_stale_seconds: float = 900.0
    away_mode: str = "off"
    away_until: str = FOREVER

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise RulesInvalid(f"{name} must be from {low:g} to {high:g}, not {value:g}")
        if self.stop_soc_pct > self.start_soc_pct:
            raise RulesInvalid(
                f"stop_soc_pct ({self.stop_soc_pct:g}) must not be above start_soc_pct ({self.start_soc_pct:g}); "
                "set both"
            )
        _check_calendar(self)
        _check_away(self)

    @property
    def uses_local_hours(self) -> bool:
        """Whether a setting other than `ready_by` means hours of the wall clock, so that the zone must be known."""
        return (
            self.windows not in (ALWAYS, NEVER)
            or self.quiet_hours not in (ALWAYS, NEVER)
            or self.price_table != NEVER
            or (self.away_mode != "off" and self.away_until != FOREVER)
        )


def _check_calendar(rules: Rules) -> None:
    if rules.time_zone:
        check_zone(rules.time_zone, "time_zone")
    elif rules.uses_local_hours:
        raise RulesInvalid(
            "time_zone is missing: windows, quiet_hours, price_table and away_until are hours on the car's wall clock; "
            'write the zone it lives in, such as time_zone = "Europe/Berlin"'
        )
    for key in ("windows", "quiet_hours", "price_table"):
        check_table(getattr(rules, key), key)
    is_day = [all(0 <= minute < MINUTES for minute in times) for times in rules.ready_by]
    if len(is_day) != 7 or not all(is_day):
        raise RulesInvalid("ready_by must have seven days of times from 00:00 to 23:59")
    if rules.price_per_kwh is None and (rules.price_max_per_kwh is not None or rules.price_table != NEVER):
        raise RulesInvalid(
            "price_per_kwh is missing: price_max_per_kwh and price_table need the price that holds at all other hours"
        )


def _check_away(rules: Rules) -> None:
    if rules.away_mode not in AWAY_MODES:
        raise RulesInvalid(f"away_mode: unknown mode {rules.away_mode!r}{suggest(rules.away_mode, AWAY_MODES)}")
    if rules.away_until != FOREVER and not is_date(rules.away_until):
        raise RulesInvalid(
            f'away_until must be the first day of work, such as "2026-08-15", or "{FOREVER}", not {rules.away_until!r}'
        )
