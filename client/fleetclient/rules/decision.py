"""What goes into a decision beside signals and rules, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Now:
    """The present on two clocks: `unix` (seconds, for windows and tariffs) and `elapsed` (seconds, monotonic, the
    clock of `Reading.observed_at`, for ages and waits). A simulator may give the same number for both.
    """

    unix: float
    elapsed: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFacts:
    """What the car's computer knows by itself. None means not known.

    `paused_until_unix`: the owner has paused until then (infinity: until resumed), None when not paused.
    `is_finishing`: the owner asked to finish what is held and take no more.
    `unconfined_reason`: why the runner cannot be confined here, empty when it can.
    `net_per_hour`: expected pay less electricity an hour in the owner's currency, None when the price is not known.
    """

    device_temp_c: float | None = None
    bytes_today: int = 0
    bytes_this_month: int = 0
    worked_seconds_today: float = 0.0
    paused_until_unix: float | None = None
    is_finishing: bool = False
    on_allowed_network: bool | None = None
    network_name: str = ""
    unconfined_reason: str = ""
    net_per_hour: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """One gate of the decision, for `rules explain`: its name, whether it is open, the reason code when it is not, and
    a sentence for people with the numbers in it. `until_unix`: when it will open by itself, None when nobody knows.

    `value` and `limit` are what was compared, as text. `age_seconds` is how old the signal behind it is, None where
    there is none or nothing was ever heard.
    """

    name: str
    is_open: bool
    reason: str = ""
    detail: str = ""
    until_unix: float | None = None
    value: str = ""
    limit: str = ""
    age_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What one evaluation leaves for the next: hysteresis and debounce. A fresh one starts with everything closed.

    `open_since_elapsed`: since when all gates but the debounce have been open. `was_allowed`: the last verdict.
    `charge_mark_pct`: the highest charge since the car was plugged in or, once `has_fallen` says that it fell far
    below that, the lowest since; None while the car is known to be unplugged, or its charge has not been heard.
    """

    was_allowed: bool = False
    open_since_elapsed: float | None = None
    charge_mark_pct: float | None = None
    has_fallen: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The verdict.

    `reasons`: reason codes of all closed gates, the most telling first; empty exactly when `allow`.
    `next_check_seconds`: the verdict cannot change by the mere passing of time before then.
    `until_unix`: when allowed, the latest moment at which it surely ends by itself (a window closes), if known; when
    not, the earliest moment at which it may begin (all closed gates open), None when nobody knows.
    """

    allow: bool
    reasons: tuple[str, ...]
    gates: tuple[Gate, ...]
    next_check_seconds: float
    until_unix: float | None
    memory: Memory = field(default_factory=Memory)
