"""What computing draws and costs. Measured where the kernel shows the processor's energy counters, estimated otherwise.

All at the wall: what the charger loses on the way is part of what the owner pays. Nothing here is a basis of pay.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleetclient.config import EnergyConfig

POWERCAP = Path("/sys/class/powercap")
SAMPLE_SECONDS_MIN = 1.0
# A counter that stood still or leapt over hours says nothing about the time in between.
SAMPLE_SECONDS_MAX = 600.0


class Rapl:
    """The processor packages' energy counters (Intel and AMD), which wrap. Most kernels show them to root only."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._domains = [
            (counter, _read_number(counter.with_name("max_energy_range_uj")) or 0)
            for counter in sorted(folder.glob("intel-rapl:*/energy_uj"))
            # `intel-rapl:0` is a package, `intel-rapl:0:1` a part of one that is counted in it already.
            if counter.parent.name.count(":") == 1 and _read_number(counter) is not None
        ]
        self._last = [_read_number(counter) or 0 for counter, _ in self._domains]

    @property
    def is_there(self) -> bool:
        """True where at least one counter can be read."""
        return bool(self._domains)

    def take_joules(self) -> float | None:
        """Return the energy since the last call, or None when a counter could not be read."""
        total = 0
        for index, (counter, wrap) in enumerate(self._domains):
            value = _read_number(counter)
            if value is None:
                return None
            step = value - self._last[index]
            self._last[index] = value
            total += step if step >= 0 else step + wrap
        return total / 1e6


class PowerMeter:
    """What the work draws, in watts at the wall. Fed by the agent's loop, on the boot clock.

    The counters see the whole processor, so the lowest draw seen without our work is taken off what is seen with it.
    """

    def __init__(self, options: EnergyConfig, *, rapl: Rapl | None = None) -> None:
        self._options = options
        found = rapl if rapl is not None else Rapl() if options.use_rapl else None
        self._rapl = found if found is not None and found.is_there else None
        self._sampled_at: float | None = None
        self._was_working = False
        self._resting_watts: float | None = None
        self._working_watts: float | None = None

    @property
    def is_measured(self) -> bool:
        """True when `watts` comes from the counters."""
        return self._working_watts is not None

    def note(self, now: float, *, is_working: bool) -> None:
        """Take notice of whether the runner works from now on."""
        if self._rapl is None:
            return
        seconds = now - self._sampled_at if self._sampled_at is not None else 0.0
        if self._sampled_at is not None and seconds < SAMPLE_SECONDS_MIN and is_working == self._was_working:
            return
        joules = self._rapl.take_joules()
        if joules is not None and SAMPLE_SECONDS_MIN <= seconds <= SAMPLE_SECONDS_MAX:
            self._learn(joules / seconds)
        self._sampled_at, self._was_working = now, is_working

    def watts(self, *, is_working: bool) -> float:
        """Return the draw at the wall with or without work."""
        options = self._options
        active = self._working_watts if self._working_watts is not None else options.active_watts
        drawn = options.idle_watts + (active if is_working else 0.0)
        return drawn / options.charger_efficiency

    def _learn(self, watts: float) -> None:
        if not self._was_working:
            known = self._resting_watts
            self._resting_watts = watts if known is None else min(known, watts)
        elif self._resting_watts is not None:
            self._working_watts = max(0.0, watts - self._resting_watts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """Pay less electricity, in the owner's currency. `amount` is None when pay or price are not known."""

    amount: float | None
    electricity: float | None
    is_measured: bool

    @property
    def label(self) -> str:
        """How the number came about, for people."""
        if self.amount is None:
            return "unknown"
        return "measured" if self.is_measured else "estimated"


def compute_net(
    *, gross: float | None, energy_wh: float, price_per_kwh: float | None, is_measured: bool = False
) -> Net:
    """Return what is left of pay after electricity: `gross - kWh * price`, both in the owner's currency."""
    electricity = None if price_per_kwh is None else energy_wh / 1000.0 * price_per_kwh
    amount = None if gross is None or electricity is None else gross - electricity
    return Net(amount=amount, electricity=electricity, is_measured=is_measured)


def compute_net_per_hour(*, gross_per_hour: float | None, watts: float, price_per_kwh: float | None) -> float | None:
    """Return what an hour of work leaves after electricity, None when pay or price are not known."""
    return compute_net(gross=gross_per_hour, energy_wh=watts, price_per_kwh=price_per_kwh).amount


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
