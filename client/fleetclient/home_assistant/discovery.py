"""Home Assistant's discovery messages, and the values of the entities in them. Pure.

Names of topics and entities come from a hash: whoever reads the broker learns no vehicle id, and never a VIN.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAME_CHARS = 12
ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"
# What Home Assistant takes for "unknown" in a sensor's topic.
NOTHING = "None"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one car's topics are."""

    discovery_prefix: str
    topic_prefix: str
    name: str

    @property
    def root(self) -> str:
        """What all topics of this car begin with."""
        return f"{self.topic_prefix}/{self.name}"

    @property
    def availability(self) -> str:
        """The topic that says whether the agent is there; the broker says so when it dies."""
        return f"{self.root}/availability"

    @property
    def pause_command(self) -> str:
        """The topic of the pause switch."""
        return f"{self.root}/pause/set"


def make_name(vehicle_id: str) -> str:
    """Return the name that topics and entities of a car have, the same at every start."""
    return hashlib.sha256(f"fleetcompute home assistant {vehicle_id}".encode()).hexdigest()[:NAME_CHARS]


def list_discoveries(place: Place, *, car: str, version: str, currency: str) -> dict[str, str]:
    """Return the discovery messages by topic, to be retained."""
    device = {
        "identifiers": [f"fleetcompute_{place.name}"],
        "name": car,
        "manufacturer": "FleetCompute",
        "model": "Vehicle client",
        "sw_version": version,
    }
    common = {"availability_topic": place.availability, "device": device}
    entities = {**_sensors(currency), "pause": {"kind": "switch", "name": "Pause", "icon": "mdi:pause-circle"}}
    messages: dict[str, str] = {}
    for name, entity in entities.items():
        kind = str(entity["kind"])
        described = {key: value for key, value in entity.items() if key != "kind"}
        topics = {"state_topic": f"{place.root}/{name}"}
        if kind == "switch":
            topics["command_topic"] = place.pause_command
        identity = {"unique_id": f"fleetcompute_{place.name}_{name}", "object_id": f"fleetcompute_{place.name}_{name}"}
        topic = f"{place.discovery_prefix}/{kind}/fleetcompute_{place.name}/{name}/config"
        messages[topic] = json.dumps({**described, **topics, **identity, **common})
    return messages


def list_values(place: Place, status: Mapping[str, Any]) -> dict[str, str]:
    """Return the entities' values by topic, to be retained."""
    pause = status["pause"]
    is_paused = pause["forever"] or pause["until"] is not None
    energy = status["usage"]["energy_wh_today"]
    values = {
        "state": status["state"],
        # Home Assistant takes at most 255 characters for a state.
        "reason": status["reasons"][0] if status["reasons"] else "none",
        "sentence": str(status["sentence"])[:255],
        "power_w": _number(status["power_w"], 1),
        "energy_today": _number(None if energy is None else energy / 1000.0, 3),
        "net_today": _number(status["net_today"], 4),
        "pause": ON if is_paused else OFF,
    }
    return {f"{place.root}/{name}": str(value) for name, value in values.items()}


def _sensors(currency: str) -> dict[str, dict[str, Any]]:
    money = {"device_class": "monetary", "unit_of_measurement": currency} if currency else {}
    return {
        "state": {"kind": "sensor", "name": "State", "icon": "mdi:car-electric"},
        "reason": {"kind": "sensor", "name": "Reason", "icon": "mdi:help-circle-outline"},
        "sentence": {"kind": "sensor", "name": "What it does", "icon": "mdi:text"},
        "power_w": {
            "kind": "sensor",
            "name": "Power",
            "device_class": "power",
            "unit_of_measurement": "W",
            "state_class": "measurement",
        },
        "energy_today": {
            "kind": "sensor",
            "name": "Energy today",
            "device_class": "energy",
            "unit_of_measurement": "kWh",
            "state_class": "total_increasing",
        },
        "net_today": {"kind": "sensor", "name": "Net today", "icon": "mdi:cash", **money},
    }


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
