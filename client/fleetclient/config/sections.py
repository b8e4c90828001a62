"""The sections of the configuration that belong to no other part: every key, its unit and its default.

The other parts own theirs, in their `options.py`. A section's docstring documents its keys in the reference page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fleetclient.config.errors import ConfigInvalid


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """`[cache]`: models kept on this car between units.

    `models_bytes_max`: bytes on disk; the models used least recently go first.
    """

    models_bytes_max: int = 4 * 1024**3


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """`[limits]`: what the owner grants. The server can ask for less, never for more.

    `memory_bytes`: memory of the runner. `replicas`: units held at most; fewer when the server's pace needs fewer.
    `runner_idle_seconds`: how long a loaded model waits for the next unit before the runner ends.
    """

    memory_bytes: int = 2 * 1024**3
    replicas: int = 8
    runner_idle_seconds: float = 0.6

    def __post_init__(self) -> None:
        """Refuse what no car can be meant to have."""
        require_within("replicas", self.replicas, 1, 256)
        require_within("memory_bytes", self.memory_bytes, 16 * 1024**2, 2**50)
        require_within("runner_idle_seconds", self.runner_idle_seconds, 0.0, 3600.0)


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """`[simulation]`: for demonstrations and tests only. A real car leaves this section out.

    `speed`: makes the runner that much slower than the machine (0.5: half as fast). `fault`: makes this car cheat, in
    the share `fault_rate` of its units: "wrong" returns plausible wrong numbers, the same for every car with the same
    `fault_seed`; "downgrade" returns what a cheaper precision would have, its numbers rounded to fp16. Digest and
    sketch are of what is returned. `memory_bytes`: bytes reported instead of the granted memory; 0 for the truth.
    """

    speed: float = 1.0
    fault: str = "none"
    fault_seed: int = 0
    fault_rate: float = 1.0
    memory_bytes: int = 0

    def __post_init__(self) -> None:
        """Refuse what the runner could not follow."""
        require_one_of("fault", self.fault, ("none", "wrong", "downgrade"))
        require_within("speed", self.speed, 0.001, 1.0)
        require_within("fault_rate", self.fault_rate, 0.0, 1.0)
        require_within("memory_bytes", self.memory_bytes, 0, 2**50)


@dataclass(frozen=True, kw_only=True)
class StatusConfig:
    """`[status]`: the status page on this machine, for this machine only.

    `port`: TCP port on 127.0.0.1; 0 turns the page off. `metrics`: also serve `/metrics` in Prometheus' text form.
    """

    port: int = 8723
    metrics: bool = False

    def __post_init__(self) -> None:
        """Refuse what is not a port."""
        require_within("port", self.port, 0, 65535)


@dataclass(frozen=True, kw_only=True)
class HomeAssistantConfig:
    """`[home_assistant]`: shows this car in Home Assistant over MQTT discovery, with a switch that pauses it.

    `enabled`: off unless set. `host`, `port`, `username`, `password_file` (or `password` in a file that only you can
    read), `tls`, `ca_file`: the broker; an empty `host` takes the vehicle source's, with its credentials.
    `discovery_prefix`: Home Assistant's own.
    `topic_prefix`: topics are `<topic_prefix>/<a name made from a hash>/…`. `interval_seconds`: between two messages
    about the same state.
    """

    enabled: bool = False
    host: str = ""
    port: int = 1883
    username: str = ""
    password: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    discovery_prefix: str = "homeassistant"
    topic_prefix: str = "fleetcompute"
    interval_seconds: float = 15.0

    def __post_init__(self) -> None:
        """Refuse what no broker would take."""
        require_within("port", self.port, 1, 65535)
        require_within("interval_seconds", self.interval_seconds, 1.0, 3600.0)
        for name in ("discovery_prefix", "topic_prefix"):
            if not getattr(self, name) or set(getattr(self, name)) & set("+#\0 "):
                raise ConfigInvalid(f"{name} must be an MQTT topic without wildcards, not {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class EnergyConfig:
    """`[energy]`: what computing costs, for the net that the owner sees.

    `idle_watts`: what the computer draws while it only waits because of us; 0 where it would be on anyway.
    `active_watts`: what it draws on top while it works; an estimate by the owner. `use_rapl`: measure the processor
    where the kernel lets us, instead of estimating. `charger_efficiency`: share of the wall's energy that arrives
    (0.9: one ninth is lost). What electricity costs stands in `[rules]`.
    """

    idle_watts: float = 0.0
    active_watts: float = 15.0
    use_rapl: bool = True
    charger_efficiency: float = 0.9

    def __post_init__(self) -> None:
        """Refuse what is no computer in a car."""
        require_within("idle_watts", self.idle_watts, 0.0, 5000.0)
        require_within("active_watts", self.active_watts, 0.0, 5000.0)
        require_within("charger_efficiency", self.charger_efficiency, 0.1, 1.0)


def require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ConfigInvalid unless a text is one of those allowed."""
    if value not in allowed:
        raise ConfigInvalid(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def require_within(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigInvalid unless a number is in the closed range; NaN never is."""
    if math.isnan(value) or not low <= value <= high:
        raise ConfigInvalid(f"{name} must be from {low} to {high}, not {value}")
