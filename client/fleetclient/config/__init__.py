"""The configuration (TOML, environment, command line): every key with its unit, its default and its origin."""

from __future__ import annotations

from fleetclient.config.errors import ConfigInvalid
from fleetclient.config.loading import Loaded, load, load_config, parse_config, reload
from fleetclient.config.model import Config
from fleetclient.config.request import Request
from fleetclient.config.sections import (
    CacheConfig,
    EnergyConfig,
    HomeAssistantConfig,
    LimitsConfig,
    SimulationConfig,
    StatusConfig,
)
from fleetclient.vehicle.options import VehicleOptions as VehicleConfig

__all__ = [
    "CacheConfig",
    "Config",
    "ConfigInvalid",
    "EnergyConfig",
    "HomeAssistantConfig",
    "LimitsConfig",
    "Loaded",
    "Request",
    "SimulationConfig",
    "StatusConfig",
    "VehicleConfig",
    "load",
    "load_config",
    "parse_config",
    "reload",
]
