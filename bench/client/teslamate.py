"""TeslaMate's side of a broker, as far as the client listens: a parked, plugged-in car that can be told to leave."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

PREFIX: Final = "teslamate/cars/1/"
PULSE_SECONDS: Final = 10.0
PARKED: Final[Mapping[str, str]] = {
    "state": "online",
    "shift_state": "",
    "plugged_in": "true",
    "charging_state": "Complete",
    "power": "0",
    "battery_level": "80",
    "usable_battery_level": "79",
    "charge_limit_soc": "80",
    "geofence": "Home",
    "inside_temp": "21.5",
    "is_climate_on": "false",
    "is_preconditioning": "false",
    "climate_keeper_mode": "off",
    "is_user_present": "false",
    "doors_open": "false",
    "sentry_mode": "false",
}


class TeslaMate:
    """Publishes the topics retained, and the pulse `healthy` live, as TeslaMate does."""

    def __init__(self, *, host: str, port: int) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="teslamate")
        self._client.connect(host, port)
        self._client.loop_start()
        self._ended = threading.Event()
        for key, value in PARKED.items():
            self._publish(key, value, retain=True)
        self._pulse = threading.Thread(target=self._beat, daemon=True)
        self._pulse.start()

    def say(self, key: str, value: str) -> float:
        """Publish one change at once; return the moment just before, on the monotonic clock."""
        at = time.monotonic()
        self._publish(key, value, retain=True)
        return at

    def pulse(self) -> None:
        """Say that the car is heard: what it said so far counts as seen now."""
        self._publish("healthy", "true", retain=False)

    def stop(self) -> None:
        """Leave the broker."""
        self._ended.set()
        self._pulse.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _beat(self) -> None:
        self.pulse()
        while not self._ended.wait(PULSE_SECONDS):
            self.pulse()

    def _publish(self, key: str, value: str, *, retain: bool) -> None:
        self._client.publish(PREFIX + key, value, qos=0, retain=retain)
