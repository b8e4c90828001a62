"""The whole configuration as one value, put together from the sections of all parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from fleetclient.config.errors import ConfigInvalid
from fleetclient.config.request import Request
from fleetclient.config.sections import (
    CacheConfig,
    EnergyConfig,
    HomeAssistantConfig,
    LimitsConfig,
    SimulationConfig,
    StatusConfig,
    require_one_of,
    require_within,
)
from fleetclient.logs import FORMATS, LEVELS
from fleetclient.netpolicy.options import NetworkOptions
from fleetclient.rules.rules import Rules
from fleetclient.runner.options import SandboxOptions
from fleetclient.trust.options import TrustOptions
from fleetclient.update.options import UpdateOptions
from fleetclient.vehicle.options import VehicleOptions

NAME_CHARS_MAX = 80
MQTT_SOURCES = ("teslamate", "mqtt")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole configuration. Paths are absolute here; in a file they are relative to the file's folder.

    `server`: the fleet's scheme, host and port. `state_dir`: key, journal, results. `cache_dir`: models, which can
    be fetched again. `name`: what the owner sees in the portal. `log_level`: debug, info, warning or error.
    `log_format`: json or text. `log_file`: a file instead of standard error, moved to `<file>.1` at
    `log_file_bytes_max` bytes. `on_stop`: hand_back, or keep to leave the work for the next start.

    Not keys of the file: `folder` is where its relative paths begin, `is_simulation` says that it has the section,
    `request` is how to read it anew.
    """

    server: str
    state_dir: Path
    cache_dir: Path
    name: str = "My car"
    log_level: str = "info"
    log_format: str = "json"
    log_file: str = ""
    log_file_bytes_max: int = 5 * 1024**2
    on_stop: str = "hand_back"
    rules: Rules = field(default_factory=Rules)
    vehicle: VehicleOptions = field(default_factory=VehicleOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    sandbox: SandboxOptions = field(default_factory=SandboxOptions)
    trust: TrustOptions = field(default_factory=TrustOptions)
    update: UpdateOptions = field(default_factory=UpdateOptions)
    cache: CacheConfig = field(default_factory=CacheConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    energy: EnergyConfig = field(default_factory=EnergyConfig)
    status: StatusConfig = field(default_factory=StatusConfig)
    home_assistant: HomeAssistantConfig = field(default_factory=HomeAssistantConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    folder: Path = Path()
    is_simulation: bool = False
    request: Request | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot work; a server may be missing, since not every command needs one."""
        origin = urlsplit(self.server)
        if self.server and (origin.scheme not in ("http", "https") or not origin.netloc or origin.path or origin.query):
            raise ConfigInvalid(f"server must be an origin such as https://fleet.example, not {self.server!r}")
        if not 1 <= len(self.name) <= NAME_CHARS_MAX:
            raise ConfigInvalid(f"name must have 1 to {NAME_CHARS_MAX} characters")
        require_one_of("log_level", self.log_level, tuple(LEVELS))
        require_one_of("log_format", self.log_format, FORMATS)
        require_within("log_file_bytes_max", self.log_file_bytes_max, 64 * 1024, 2**30)
        if self.home_assistant.enabled and not self.home_assistant.host and self.vehicle.source not in MQTT_SOURCES:
            raise ConfigInvalid(
                f'home_assistant.host is missing: the source "{self.vehicle.source}" has no MQTT broker to share'
            )
        require_one_of("on_stop", self.on_stop, ("hand_back", "keep"))

    @property
    def memory_bytes_reported(self) -> int:
        """The memory the server is told this car can give to a runner."""
        return self.simulation.memory_bytes or self.limits.memory_bytes
