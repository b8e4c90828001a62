"""TeslaMate over MQTT: signals as fresh as TeslaMate's own pulse.

TeslaMate publishes a value only when it changes, and retained: a message tells nothing of how long it has been true.
Its pulse is the topic `healthy`, which it repeats unretained at every look at the car (each 5 to 30 s; silent for
about 21 min while it lets a car fall asleep). So a value is as fresh as the last live message of the car, provided
that it was heard on the connection that stands now. Before the first live `healthy`, and after a false one, nothing
is known. When TeslaMate starts it clears `healthy` and then publishes anew all that it knows; the rest is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleetclient.clock import boot_seconds
from fleetclient.vehicle.board import Board
from fleetclient.vehicle.mqtt_link import MqttLink
from fleetclient.vehicle.mqtt_options import TeslamateOptions
from fleetclient.vehicle.signals import Reading, Signals
from fleetclient.vehicle.teslamate_signals import KEYS, derive_signals
from fleetclient.vehicle.values import as_boolean


class TeslamateSource:
    """Listens to one car's topics. `clock` gives seconds on the boot clock."""

    def __init__(
        self, options: TeslamateOptions, *, folder: Path = Path(), clock: Callable[[], float] = boot_seconds
    ) -> None:
        self._home_names = options.home_names
        namespace = f"{options.namespace}/" if options.namespace else ""
        self._prefix = f"teslamate/{namespace}cars/{options.car_id}/"
        self._link = MqttLink(options, self.topics, self, folder=folder, last=f"{self._prefix}healthy")
        self._clock = clock
        self._board = Board("teslamate")
        self._said: dict[str, str] = {}
        self._said_before: dict[str, str] = {}  # on earlier connections, and not again on this one
        self._has_pulse = False  # heard on this connection
        self._is_healthy: bool | None = None
        self._alive_at = 0.0

    @property
    def topics(self) -> list[str]:
        """The topics subscribed to, all of them; none says where the car is."""
        return [self._prefix + key for key in KEYS]

    @property
    def problem(self) -> str:
        """Why signals are missing or old, in a sentence for the owner; empty when all is well."""
        if self._link.problem:
            return f"MQTT: {self._link.problem}"
        if self._is_healthy is None:
            return (
                f"TeslaMate has not said {self._prefix}healthy since we listen; it speaks at its next look at the car"
            )
        return "" if self._is_healthy else "TeslaMate says that it cannot hear the car (healthy is false)"

    def start(self, wake: Callable[[], None]) -> None:
        """Connect and stay connected; raises SourceInvalid for files that cannot be used."""
        self._board.ring_with(wake)
        self._link.start()

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot."""
        return self._board.read()

    def stop(self) -> None:
        """End the connection."""
        self._link.stop()

    def on_connected(self) -> None:
        """Keep what is known at its age: only what this connection says again will be as fresh as its pulse."""
        self._said_before |= self._said
        self._said = {}
        self._has_pulse = False

    def on_disconnected(self) -> None:
        """Leave everything as it is: it grows old by itself."""

    def on_message(self, topic: str, payload: str, *, is_retained: bool) -> None:
        """Take in one topic's text and tell what follows from it."""
        key = topic.removeprefix(self._prefix)
        if key != "healthy":
            self._said[key] = payload
        elif not is_retained:  # retained, it is of an old TeslaMate: true when it was said, perhaps a year ago
            self._hear_pulse(payload)
        if self._has_pulse and not is_retained:
            self._alive_at = self._clock()
        self._board.show(self._readings())

    def _hear_pulse(self, payload: str) -> None:
        if not payload:  # TeslaMate starts
            self._said = {}
        self._said_before = {}
        self._has_pulse = True
        self._is_healthy = as_boolean(payload)

    def _readings(self) -> dict[str, Reading]:
        values = derive_signals({**self._said_before, **self._said}, home_names=self._home_names)
        is_known = bool(self._is_healthy)
        return {
            name: self._board.reading(value if is_known else None, self._alive_at) for name, value in values.items()
        }
