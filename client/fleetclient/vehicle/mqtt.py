"""State topics over MQTT, as Home Assistant and its companions write them, by the owner's own mapping.

Only the topics that the mapping names are subscribed to, and of a JSON message only the mapped place is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleetclient.clock import boot_seconds
from fleetclient.vehicle.board import Board
from fleetclient.vehicle.json_path import find_value
from fleetclient.vehicle.mqtt_link import MqttLink
from fleetclient.vehicle.mqtt_options import MqttOptions, MqttSignal
from fleetclient.vehicle.signals import BOOLEAN_SIGNALS, Reading, Signals, SignalValue
from fleetclient.vehicle.values import as_number, as_signal

# A retained message's age is not known: its value is shown, but so old that no rule takes it for fresh.
RETAINED_AGE_SECONDS = 86_400.0


class MqttSource:
    """Listens to the mapped topics. `clock` gives seconds on the boot clock."""

    def __init__(
        self, options: MqttOptions, *, folder: Path = Path(), clock: Callable[[], float] = boot_seconds
    ) -> None:
        self._options = options
        self._clock = clock
        self._board = Board("mqtt")
        self._is_available: bool | None = None if options.availability_topic else True
        self._vouched: frozenset[str] = frozenset()  # heard on this connection, and the last will would tell
        self._link = MqttLink(options, self.topics, self, folder=folder, last=options.availability_topic)

    @property
    def topics(self) -> list[str]:
        """The topics subscribed to, all of them."""
        topics = {signal.topic for signal in self._options.signals.values()}
        return sorted(topics | ({self._options.availability_topic} if self._options.availability_topic else set()))

    @property
    def problem(self) -> str:
        """Why signals are missing or old, in a sentence for the owner; empty when all is well."""
        if self._link.problem:
            return f"MQTT: {self._link.problem}"
        if not self._is_available:
            heard = "says that the car's device is away" if self._is_available is False else "has said nothing yet"
            return f"{self._options.availability_topic} {heard}"
        silent = [name for name in self._options.signals if self._board.read().get(name) is None]
        return f"nothing heard yet of {', '.join(silent)}: see the topics in vehicle.mqtt.signals" if silent else ""

    def start(self, wake: Callable[[], None]) -> None:
        """Connect and stay connected; raises SourceInvalid for files that cannot be used."""
        self._board.ring_with(wake)
        self._link.start()

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot; nothing is known while the availability topic does not say so."""
        signals = self._board.read()
        if not self._is_available:
            return Signals()
        if not self._vouched:
            return signals
        return Signals({name: self._refreshed(name, each, now_elapsed) for name, each in signals.readings.items()})

    def stop(self) -> None:
        """End the connection."""
        self._link.stop()

    def on_connected(self) -> None:
        """Nothing to do: retained messages come next."""

    def on_disconnected(self) -> None:
        """Let what the last will vouched for grow old from now on, and the rest from where it is."""
        now = self._clock()
        readings = {name: self._refreshed(name, each, now) for name, each in self._board.read().readings.items()}
        self._vouched = frozenset()
        self._board.show(readings)

    def on_message(self, topic: str, payload: str, *, is_retained: bool) -> None:
        """Take in one topic's message and tell what it means."""
        if topic == self._options.availability_topic:
            self._hear_availability(payload)
        for name, signal in self._options.signals.items():
            if signal.topic == topic:
                self._hear(name, read_signal(name, payload, signal), is_retained=is_retained)

    def _hear_availability(self, payload: str) -> None:
        known = {self._options.available: True, self._options.unavailable: False}
        before, self._is_available = self._is_available, known.get(payload.strip(), False)
        if not self._is_available:  # what it said before it went is not what it will say when it is back
            self._vouched = frozenset()
            self._board.show({})
        if self._is_available != before:
            self._board.ring()

    def _hear(self, name: str, value: SignalValue | None, *, is_retained: bool) -> None:
        if self._options.is_last_will:
            self._vouched |= {name}
        now = self._clock()
        if not is_retained or self._options.retained == "fresh":
            self._board.post({name: value}, observed_at=now)
            return
        known = self._board.read().get(name)
        if known is None or known.value != value:  # the same again, at a reconnect, makes nothing older or younger
            self._board.post({name: value}, observed_at=now - RETAINED_AGE_SECONDS)

    def _refreshed(self, name: str, reading: Reading, now: float) -> Reading:
        return self._board.reading(reading.value, now) if name in self._vouched else reading


def read_signal(name: str, payload: str, signal: MqttSignal) -> SignalValue | None:
    """Return what a message says of a signal by the owner's mapping, None for nothing that can be understood."""
    said = find_value(payload, signal.path) if signal.path else payload
    if name not in BOOLEAN_SIGNALS:
        number = _number(said)
        return None if number is None else as_signal(name, number * signal.scale + signal.offset)
    answer = _answer(said, signal)
    return None if answer is None else answer is not signal.invert


def _answer(said: object, signal: MqttSignal) -> bool | None:
    if isinstance(said, bool):
        return said
    if signal.numeric:
        number = _number(said)
        return None if number is None else number != 0
    words = {signal.off.casefold(): False, signal.on.casefold(): True}
    return words.get(str(said).strip().casefold())


def _number(said: object) -> float | None:
    return None if isinstance(said, bool) or said is None else as_number(str(said))
