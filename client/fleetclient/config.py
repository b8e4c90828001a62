"""The configuration file (TOML): every key, its unit and its default. An unknown key is an error with a suggestion."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from fleetclient.errors import ClientError
from fleetclient.logs import LEVELS
from fleetclient.wire import RETURN_REASONS


class ConfigInvalid(ClientError):
    """The configuration cannot be used; the text names the key."""

    code: ClassVar[str] = "config_invalid"


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """`[cache]`: models kept on this car between units."""

    models_bytes_max: int = 4 * 1024**3


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """`[limits]`: what the owner grants. The server can ask for less, never for more."""

    memory_bytes: int = 2 * 1024**3
    replicas: int = 8
    runner_idle_seconds: float = 3.0


@dataclass(frozen=True, kw_only=True)
class VehicleConfig:
    """`[vehicle]`: where the car's state comes from, and what to do with work when it leaves.

    `away` lists absences of the simulated source as [start, end] in seconds since the agent began. While a file of the
    name `away_file` exists in the configuration's folder, the simulated car is away as well: for scripts.
    """

    source: str = "simulated"
    start_delay_seconds: float = 0.0
    away: tuple[tuple[float, float], ...] = ()
    away_file: str = ""
    away_reason: str = "driving"
    hand_back: bool = True


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """`[simulation]`: for demonstrations and tests only. A real car leaves this section out.

    `speed` makes the runner that much slower than the machine (0.5: half as fast). `fault = "wrong"` makes this car
    cheat: it returns plausible wrong numbers, the same for every car with the same `fault_seed`, in the share
    `fault_rate` of its units. `memory_bytes` is reported instead of the granted memory.
    """

    speed: float = 1.0
    fault: str = "none"
    fault_seed: int = 0
    fault_rate: float = 1.0
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole file. `state_dir` is relative to the file's folder; it holds the key, the journal and the cache."""

    server: str
    state_dir: Path
    name: str = "My car"
    log_level: str = "info"
    on_stop: str = "hand_back"
    cache: CacheConfig = field(default_factory=CacheConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    vehicle: VehicleConfig = field(default_factory=VehicleConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)

    @property
    def memory_bytes_reported(self) -> int:
        """The memory the server is told this car can give to a runner."""
        return self.simulation.memory_bytes or self.limits.memory_bytes


_SECTIONS: dict[str, type[Any]] = {
    "cache": CacheConfig,
    "limits": LimitsConfig,
    "vehicle": VehicleConfig,
    "simulation": SimulationConfig,
}


def load_config(path: Path) -> Config:
    """Return the configuration in a file; raises ConfigInvalid."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from None
    return parse_config(document, folder=path.parent.resolve())


def parse_config(document: dict[str, Any], *, folder: Path) -> Config:
    """Return the configuration in a parsed document; raises ConfigInvalid."""
    values = dict(document)
    for name, section in _SECTIONS.items():
        content = values.get(name, {})
        if not isinstance(content, dict):
            raise ConfigInvalid(f"{name} is a section, write [{name}]")
        values[name] = section(**_read_section(content, section, prefix=f"{name}."))
    known = _read_section(values, Config, prefix="")
    config = Config(**{**known, "state_dir": folder / known["state_dir"], "server": known["server"].rstrip("/")})
    if config.vehicle.away_file:
        vehicle = replace(config.vehicle, away_file=str(folder / config.vehicle.away_file))
        config = replace(config, vehicle=vehicle)
    _check(config)
    return config


def _read_section(content: dict[str, Any], section: type[Any], *, prefix: str) -> dict[str, Any]:
    known = {item.name: item for item in fields(section)}
    for key in content:
        if key not in known:
            raise ConfigInvalid(f"unknown key {prefix}{key}{_suggestion(key, list(known))}")
    for name, item in known.items():
        if name not in content and item.default is MISSING and item.default_factory is MISSING:
            raise ConfigInvalid(f"{prefix}{name} is missing")
    return {key: _typed(value, known[key].type, prefix + key) for key, value in content.items()}


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


# By the text of a field's annotation, which is what `from __future__ import annotations` leaves of it.
_ACCEPTED: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "Path": (str,),
    "bool": (bool,),
}


def _typed(value: Any, annotation: Any, key: str) -> Any:
    if annotation not in _ACCEPTED:
        return _absences(value) if key == "vehicle.away" else value
    if not isinstance(value, _ACCEPTED[annotation]) or (isinstance(value, bool) and annotation != "bool"):
        raise ConfigInvalid(f"{key} must be {annotation}, not {value!r}")
    return float(str(value)) if annotation == "float" else value


def _absences(value: Any) -> tuple[tuple[float, float], ...]:
    try:
        pairs: list[tuple[float, float]] = list(value)
        absences = tuple((float(start), float(end)) for start, end in pairs)
    except (TypeError, ValueError):
        raise ConfigInvalid("vehicle.away must be a list of [start, end] in seconds") from None
    if any(start < 0 or end <= start for start, end in absences):
        raise ConfigInvalid("vehicle.away: each absence must end after it starts")
    return absences


def _check(config: Config) -> None:
    origin = urlsplit(config.server)
    if origin.scheme not in ("http", "https") or not origin.netloc or origin.path or origin.query:
        raise ConfigInvalid("server must be an origin such as https://fleet.example")
    _one_of("log_level", config.log_level, tuple(LEVELS))
    _one_of("on_stop", config.on_stop, ("hand_back", "keep"))
    _one_of("vehicle.source", config.vehicle.source, ("simulated",))
    _one_of("vehicle.away_reason", config.vehicle.away_reason, RETURN_REASONS)
    _one_of("simulation.fault", config.simulation.fault, ("none", "wrong"))
    _within("simulation.speed", config.simulation.speed, 0.001, 1.0)
    _within("simulation.fault_rate", config.simulation.fault_rate, 0.0, 1.0)
    _within("limits.replicas", config.limits.replicas, 1, 256)
    _within("limits.memory_bytes", config.limits.memory_bytes, 16 * 1024**2, 2**50)
    _within("cache.models_bytes_max", config.cache.models_bytes_max, 1024**2, 2**50)


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigInvalid(f"{key} must be one of {', '.join(allowed)}, not {value!r}")


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigInvalid(f"{key} must be from {low} to {high}, not {value}")
