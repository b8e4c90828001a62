"""`[vehicle]` and its sections: which source speaks for the car, and how to reach it.

Paths are relative to the configuration's folder. Every class refuses by itself what cannot work, naming the key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from fleetclient.vehicle.assumed import ASSUMABLE
from fleetclient.vehicle.bus_options import CanOptions
from fleetclient.vehicle.checks import SourceInvalid, require_one_of, require_within
from fleetclient.vehicle.mqtt_options import MqttOptions, TeslamateOptions
from fleetclient.wire import RETURN_REASONS

SOURCES = ("none", "simulated", "scripted", "file", "teslamate", "mqtt", "can")


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """`[vehicle.simulation]`: a car that does not exist, with a life of its own.

    `seed`: 0 for the scripted car (`away` and its companions); any other number names one life, and the same number
    with the same options is always the same life. `start`: the car's own time when the agent starts, such as
    "2026-01-12T18:00"; empty for this machine's local time. `speed`: how many of the car's seconds pass in one of
    ours (90: a night of twelve hours in eight minutes). `battery_kwh`: size of the battery. `charger_kw`: power of the
    wall box. `charge_limit_pct`: where charging stops. `plug_in_share`: how often the car is plugged in on coming home
    (0 to 1); below 40 % of charge it always is. `night_charging_hour`: the hour at which charging begins, for cheap
    electricity; -1 to charge at once. `warmest_c`, `coldest_c`: mean temperature outside in July and in January.
    """

    seed: int = 0
    start: str = ""
    speed: float = 1.0
    battery_kwh: float = 58.0
    charger_kw: float = 11.0
    charge_limit_pct: float = 80.0
    plug_in_share: float = 0.75
    night_charging_hour: int = 23
    warmest_c: float = 19.0
    coldest_c: float = 3.0

    def __post_init__(self) -> None:
        """Refuse what is no car."""
        require_within("seed", self.seed, 0, 2**53)
        require_within("speed", self.speed, 0.001, 10_000.0)
        require_within("battery_kwh", self.battery_kwh, 10.0, 250.0)
        require_within("charger_kw", self.charger_kw, 1.0, 50.0)
        require_within("charge_limit_pct", self.charge_limit_pct, 50.0, 100.0)
        require_within("plug_in_share", self.plug_in_share, 0.0, 1.0)
        require_within("night_charging_hour", self.night_charging_hour, -1, 23)
        require_within("warmest_c", self.warmest_c, -40.0, 60.0)
        require_within("coldest_c", self.coldest_c, -40.0, self.warmest_c)
        if self.start:
            _require_local_time("start", self.start)


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """`[vehicle.file]`: a JSON document that another program writes.

    `document_file`: the file, replaced or rewritten at each change and at least every few minutes, for old news is no
    news. `stdin`: read one document a line from standard input instead. `poll_seconds`: how often the file is
    looked at.
    """

    document_file: str = ""
    stdin: bool = False
    poll_seconds: float = 0.1

    def __post_init__(self) -> None:
        """Refuse two places at once."""
        require_within("poll_seconds", self.poll_seconds, 0.01, 60.0)
        if self.document_file and self.stdin:
            raise SourceInvalid("stdin and document_file exclude each other; keep one")


@dataclass(frozen=True, kw_only=True)
class VehicleOptions:
    """`[vehicle]`: where the car's state comes from, and what to do with work when the car is needed.

    `source`: none, simulated, scripted, file, teslamate, mqtt or can; the last four have a section of that name. With
    none, which is what holds until you choose, the car never works. With a `[simulation]` section, or where a
    key of the scripted or the simulated car is set, simulated holds instead.
    `hand_back`: give work to other cars when this one stops; false keeps what can still be finished in time.
    `assume_no`: signals that this car cannot tell and that are taken for no: updating, sentry_on, charging.

    For the scripted car, which stands plugged in at home unless told otherwise: `start_delay_seconds`: not plugged in
    until then; `away`: absences as [start, end] in seconds since the agent began; `away_file`: it is away as well
    while this file exists; `away_reason`: the reason code that its signals then amount to, where signals can.
    `source = "simulated"` is that same car unless `simulation.seed` gives it a life.
    """

    source: str = "none"
    hand_back: bool = False
    assume_no: tuple[str, ...] = ()
    start_delay_seconds: float = 0.0
    away: tuple[tuple[float, float], ...] = ()
    away_file: str = ""
    away_reason: str = "driving"
    simulation: SimulationOptions = field(default_factory=SimulationOptions)
    file: FileOptions = field(default_factory=FileOptions)
    teslamate: TeslamateOptions = field(default_factory=TeslamateOptions)
    mqtt: MqttOptions = field(default_factory=MqttOptions)
    can: CanOptions = field(default_factory=CanOptions)

    def __post_init__(self) -> None:
        """Refuse what is no source or no absence, and a source whose section says too little."""
        require_one_of("source", self.source, SOURCES)
        require_one_of("away_reason", self.away_reason, RETURN_REASONS)
        for name in self.assume_no:
            require_one_of("assume_no", name, ASSUMABLE)
        require_within("start_delay_seconds", self.start_delay_seconds, 0.0, 1e9)
        if any(start < 0 or end <= start for start, end in self.away):
            raise SourceInvalid("away: each absence must end after it starts")
        if self.source == "file" and not self.file.document_file and not self.file.stdin:
            raise SourceInvalid("file.document_file is missing: name the JSON file, or set file.stdin = true")
        if self.source == "mqtt" and not self.mqtt.signals:
            raise SourceInvalid("mqtt.signals is empty: name at least the topics of parked and plugged_in")
        if self.source == "can" and not self.can.signals:
            raise SourceInvalid("can.signals is empty: name at least the frames of parked and plugged_in")


def _require_local_time(key: str, text: str) -> None:
    try:
        is_local = datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        is_local = False
    if not is_local:
        raise SourceInvalid(f"{key} must be a local time such as 2026-01-12T18:00, not {text!r}")
