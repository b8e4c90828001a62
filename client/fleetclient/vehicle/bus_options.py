"""`[vehicle.can]`: the bus, the DBC that describes its frames, and which of their signals mean what."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fleetclient.vehicle.checks import SourceInvalid, require_signal_names, require_within
from fleetclient.vehicle.signals import BOOLEAN_SIGNALS

COMPARISON = re.compile(r"(==|!=|>=|<=|>|<)\s*(\S.*)")


@dataclass(frozen=True, kw_only=True)
class CanSignal:
    """`[vehicle.can.signals.NAME]`: the signal of a frame that says one of ours.

    `message`, `signal`: their names in the DBC. `dbc_file`: another DBC than the section's. For yes and no: `when`: a
    comparison such as "== DI_GEAR_P", "!= 0" or "> 20", with a number or a name from the DBC's choices; `unknown`:
    choices that mean the car does not know, such as "SNA". For numbers: the signal is `scale` times the decoded number
    plus `offset`.
    """

    message: str = ""
    signal: str = ""
    dbc_file: str = ""
    when: str = ""
    unknown: tuple[str, ...] = ()
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CanOptions:
    """`[vehicle.can]`: needs the extra `fleetcompute-client[can]`. Nothing is ever written to the bus.

    `interface`: python-can's name of the kind of bus (socketcan, slcan, pcan, …). `channel`: which one, such as can0.
    `bitrate`: bit/s for interfaces that set it, 0 to leave it alone. `dbc_file`: the description of the frames.
    `signals`: one table for each signal that the frames tell.
    """

    interface: str = "socketcan"
    channel: str = "can0"
    bitrate: int = 0
    dbc_file: str = ""
    signals: dict[str, CanSignal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse mappings that cannot say anything."""
        require_within("bitrate", self.bitrate, 0, 10_000_000)
        require_signal_names("signals", self.signals)
        for name, signal in self.signals.items():
            self._require_meaning(f"signals.{name}", signal, is_boolean=name in BOOLEAN_SIGNALS)

    def _require_meaning(self, key: str, signal: CanSignal, *, is_boolean: bool) -> None:
        for part in ("message", "signal"):
            if not getattr(signal, part):
                raise SourceInvalid(f"{key}.{part} is missing: its name in the DBC")
        if not signal.dbc_file and not self.dbc_file:
            raise SourceInvalid(f"dbc_file is missing, and {key}.dbc_file too: the DBC that describes the frames")
        require_within(f"{key}.scale", signal.scale, -1e9, 1e9)
        require_within(f"{key}.offset", signal.offset, -1e9, 1e9)
        if is_boolean and not COMPARISON.fullmatch(signal.when):
            raise SourceInvalid(f'{key}.when must be a comparison such as "== P" or "> 0", not {signal.when!r}')
        if not is_boolean and signal.when:
            raise SourceInvalid(f"{key} is a number: when is for signals that say yes or no")
