"""The life of a simulated car as a function of time: the same seed, options and first day give the same life,
whenever and however often one looks. Driving empties the battery, charging fills it, and both are integrated exactly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from fleetclient.vehicle.climate import (
    COMFORT_C,
    COOLING_SECONDS,
    HEATING_SECONDS,
    outside_temp,
    parked_cabin_temp,
    settle,
)
from fleetclient.vehicle.options import SimulationOptions
from fleetclient.vehicle.outings import HOUR, MINUTE, Outing, make_dice, plan_outings
from fleetclient.vehicle.signals import Reading, Signals, SignalValue
from fleetclient.vehicle.survey import SECONDS_A_DAY, Survey, load_survey

SOURCE = "simulated"
# A life needs a history: how full the battery is depends on the days before.
WARM_UP_DAYS = 7
SOC_RESERVE_PCT, SOC_PLUG_ALWAYS_PCT, SOC_CHARGE_AT_ONCE_PCT = 8.0, 40.0, 20.0
PLUG_SECONDS, UNPLUG_SECONDS = 2 * MINUTE, 3 * MINUTE
BOARDING_SECONDS, LEAVING_SECONDS, PREPARING_SECONDS = 4 * MINUTE, 3 * MINUTE, 15 * MINUTE
NIGHT_ENDS_HOUR = 6
CHARGING_EFFICIENCY = 0.92
SENTRY_SHARE, UPDATE_SHARE = 0.3, 0.03
UPDATE_BEGINS, UPDATE_ENDS = 2.5 * HOUR, 2.9 * HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A drive, or a stay at home or elsewhere, in seconds of the trace. The intervals in it are half-open."""

    starts_at: float
    ends_at: float
    is_drive: bool
    is_home: bool
    soc_start: float
    soc_end: float
    plugged: tuple[float, float] = (0.0, 0.0)
    charging: tuple[float, float] = (0.0, 0.0)

    def soc_at(self, at: float) -> float:
        """Return the charge at a moment of this span, in percent."""
        begins, ends = (self.starts_at, self.ends_at) if self.is_drive else self.charging
        if ends <= begins:
            return self.soc_start
        return self.soc_start + (self.soc_end - self.soc_start) * min(max((at - begins) / (ends - begins), 0.0), 1.0)


class Trace:
    """One life from the midnight that begins `first_day`. Days are worked out when somebody asks for them."""

    def __init__(self, options: SimulationOptions, first_day: date, *, survey: Survey | None = None) -> None:
        self._options = options
        self._first_day = first_day
        self._survey = survey or load_survey()
        self._spans: list[Span] = []
        self._starts: list[float] = []
        self._days_planned = 0
        soc = make_dice(options.seed, "start").uniform(50.0, options.charge_limit_pct)
        # A stay whose end is not known yet: where, since when, with how much.
        self._open: tuple[bool, float, float] = (True, 0.0, soc)

    def signals_at(self, at: float) -> dict[str, SignalValue]:
        """Return all twelve signals at a moment, in seconds since the trace began."""
        span, after = self._find(at)
        is_stay = not span.is_drive
        plugged, charging = _is_within(at, span.plugged), _is_within(at, span.charging)
        day, seconds = self._date_of(at)
        outside_c = self._outside(at)
        return {
            "parked": is_stay,
            "plugged_in": plugged,
            "charging": charging,
            "soc_pct": span.soc_at(at),
            "charge_limit_pct": self._options.charge_limit_pct,
            "at_home": is_stay and span.is_home,
            "on_home_wifi": is_stay and span.is_home,
            "user_present": span.is_drive or after < BOARDING_SECONDS or _is_within(at, self._leaving(span)),
            "cabin_temp_c": self._cabin(span, at, outside_c, seconds),
            "pack_temp_c": 15.0 + 0.5 * (outside_c - 15.0) + (8.0 if charging or span.is_drive else 0.0),
            "sentry_on": is_stay
            and not span.is_home
            and make_dice(self._options.seed, "sentry").random() < SENTRY_SHARE,
            "updating": is_stay and span.is_home and self._is_update(day, seconds),
        }

    def next_change(self, at: float) -> float:
        """Return the next moment after `at` at which a signal of yes and no may change."""
        span, _ = self._find(at)
        midnight = at - at % SECONDS_A_DAY
        edges = [*span.plugged, *span.charging, *self._leaving(span), span.ends_at - BOARDING_SECONDS, span.ends_at]
        edges += [midnight + UPDATE_BEGINS, midnight + UPDATE_ENDS, midnight + SECONDS_A_DAY + UPDATE_BEGINS]
        return min(edge for edge in edges if edge > at)

    def _find(self, at: float) -> tuple[Span, float]:
        """Return the span that covers a moment, and the seconds until it ends."""
        while not self._starts or self._open[1] <= at:
            self._plan_day()
        span = self._spans[bisect_right(self._starts, at) - 1]
        return span, span.ends_at - at

    def _plan_day(self) -> None:
        day = self._first_day + timedelta(days=self._days_planned)
        midnight = self._days_planned * SECONDS_A_DAY
        for outing in plan_outings(self._options.seed, day, self._survey):
            self._add_outing(outing, midnight, day)
        self._days_planned += 1

    def _add_outing(self, outing: Outing, midnight: float, day: date) -> None:
        is_home, since, soc = self._open
        departs_at, stops_at = midnight + outing.departs_at, midnight + outing.stops_at
        leaves_at, arrives_at = midnight + outing.leaves_at, midnight + outing.arrives_at
        stay = self._make_stay(since, departs_at, soc, day)
        cold = 1.0 + 0.012 * max(0.0, 20.0 - self._outside(departs_at))
        need = min(100.0 * outing.kwh * cold / self._options.battery_kwh, stay.soc_end - SOC_RESERVE_PCT)
        if need < 1.0:  # nobody sets out on an empty battery
            return
        half = stay.soc_end - need / 2
        self._add(stay)
        self._add(_make_span(departs_at, stops_at, is_drive=True, soc_start=stay.soc_end, soc_end=half))
        self._add(_make_span(stops_at, leaves_at, is_drive=False, soc_start=half, soc_end=half))
        self._add(_make_span(leaves_at, arrives_at, is_drive=True, soc_start=half, soc_end=half - need / 2))
        self._open = (is_home, arrives_at, half - need / 2)

    def _add(self, span: Span) -> None:
        self._spans.append(span)
        self._starts.append(span.starts_at)

    def _make_stay(self, starts_at: float, ends_at: float, soc: float, day: date) -> Span:
        """Return a stay at home, with its cable and its charging."""
        dice = make_dice(self._options.seed, f"plug/{starts_at}", day)
        is_low = soc < SOC_PLUG_ALWAYS_PCT
        plug_at, unplug_at = starts_at + PLUG_SECONDS, ends_at - UNPLUG_SECONDS
        if not is_low and starts_at > 0:
            unplug_at = min(unplug_at, plug_at + self._survey.draw_stay(dice, starts_at % SECONDS_A_DAY))
        if not (is_low or dice.random() < self._options.plug_in_share) or unplug_at <= plug_at:
            return _make_span(starts_at, ends_at, is_drive=False, is_home=True, soc_start=soc, soc_end=soc)
        begins = plug_at if soc < SOC_CHARGE_AT_ONCE_PCT else self._charge_from(plug_at)
        pct_a_second = 100.0 * self._options.charger_kw * CHARGING_EFFICIENCY / self._options.battery_kwh / 3600.0
        missing = max(0.0, self._options.charge_limit_pct - soc)
        ends = min(begins + missing / pct_a_second, unplug_at)
        is_charged = ends > begins
        return Span(
            starts_at=starts_at,
            ends_at=ends_at,
            is_drive=False,
            is_home=True,
            soc_start=soc,
            soc_end=soc + min((ends - begins) * pct_a_second, missing) if is_charged else soc,
            plugged=(plug_at, unplug_at),
            charging=(begins, ends) if is_charged else (0.0, 0.0),
        )

    def _charge_from(self, plug_at: float) -> float:
        """Return when charging begins for a car that is plugged in at this time."""
        hour, now = self._options.night_charging_hour, plug_at % SECONDS_A_DAY / HOUR
        if hour < 0 or now >= hour or (now < NIGHT_ENDS_HOUR < hour):
            return plug_at
        return plug_at + (hour - now) * HOUR

    def _date_of(self, at: float) -> tuple[date, float]:
        days, seconds = divmod(at, SECONDS_A_DAY)
        return self._first_day + timedelta(days=int(days)), seconds

    def _outside(self, at: float) -> float:
        day, seconds = self._date_of(at)
        options = self._options
        return outside_temp(options.seed, day, seconds, warmest_c=options.warmest_c, coldest_c=options.coldest_c)

    def _cabin(self, span: Span, at: float, outside_c: float, seconds: float) -> float:
        empty = parked_cabin_temp(outside_c, seconds, is_home=span.is_home)
        if span.is_drive:
            return settle(empty, COMFORT_C, at - span.starts_at, HEATING_SECONDS)
        cooled = settle(COMFORT_C, empty, at - span.starts_at, COOLING_SECONDS)
        prepared = at - (span.ends_at - PREPARING_SECONDS)
        return settle(cooled, COMFORT_C, prepared, HEATING_SECONDS) if prepared > 0 and span.is_home else cooled

    def _leaving(self, span: Span) -> tuple[float, float]:
        is_arrival = not span.is_drive and span.starts_at > 0
        return (span.starts_at, span.starts_at + LEAVING_SECONDS) if is_arrival else (0.0, 0.0)

    def _is_update(self, day: date, seconds: float) -> bool:
        return (
            UPDATE_BEGINS <= seconds < UPDATE_ENDS
            and make_dice(self._options.seed, "update", day).random() < UPDATE_SHARE
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceStep:
    """One look at a life. `at` is the car's local time, without a zone; `elapsed` counts seconds from the first step
    and is the clock of the readings.
    """

    at: datetime
    elapsed: float
    signals: Signals


def begin_trace(options: SimulationOptions, start: datetime, *, survey: Survey | None = None) -> tuple[Trace, float]:
    """Return a life with some history and the moment in it that is the local time `start`."""
    first_day = start.date() - timedelta(days=WARM_UP_DAYS)
    offset = start.replace(tzinfo=None) - datetime.combine(first_day, time())
    return Trace(options, first_day, survey=survey), offset.total_seconds()


def iterate_trace(
    options: SimulationOptions,
    *,
    start: datetime,
    days: float,
    step_seconds: float = 60.0,
    survey: Survey | None = None,
) -> Iterator[TraceStep]:
    """Yield a life over some days, a look each `step_seconds`, without waiting for anything. `speed` plays no part."""
    trace, offset = begin_trace(options, start, survey=survey)
    for step in range(int(days * SECONDS_A_DAY / step_seconds)):
        elapsed = step * step_seconds
        told = trace.signals_at(offset + elapsed)
        signals = Signals({name: Reading(value, elapsed, SOURCE) for name, value in told.items()})
        yield TraceStep(at=start + timedelta(seconds=elapsed), elapsed=elapsed, signals=signals)


def _make_span(
    starts_at: float, ends_at: float, *, is_drive: bool, soc_start: float, soc_end: float, is_home: bool = False
) -> Span:
    return Span(
        starts_at=starts_at, ends_at=ends_at, is_drive=is_drive, is_home=is_home, soc_start=soc_start, soc_end=soc_end
    )


def _is_within(at: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= at < interval[1]
