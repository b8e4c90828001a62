"""What the tests of the sources share: a bell, a publisher on a real broker, and a look for what must not be kept."""

from __future__ import annotations

import gc
import threading
import time
import types
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from fleetclient.clock import boot_seconds
from fleetclient.vehicle.signals import SignalValue
from fleetclient.vehicle.source import SignalSource

PATIENCE_SECONDS = 20.0


class Bell:
    """The agent's ear: counts how often it was woken."""

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self.count = 0

    def ring(self) -> None:
        with self._rung:
            self.count += 1
            self._rung.notify_all()


def wait_until(holds: Callable[[], object], *, doing: Callable[[], object] = lambda: None) -> None:
    """Return when a condition holds, having done something (a pulse, say) before each look."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        doing()
        if holds():
            return
        assert time.monotonic() < ends_at, "waited in vain"
        time.sleep(0.01)


def value(source: SignalSource, name: str) -> SignalValue | None:
    """Return what a source says of a signal now."""
    reading = source.read(boot_seconds()).get(name)
    return None if reading is None else reading.value


def known(source: SignalSource) -> dict[str, SignalValue]:
    """Return all that a source knows now."""
    readings = source.read(boot_seconds()).readings
    return {name: each.value for name, each in readings.items() if each.value is not None}


def age(source: SignalSource, name: str) -> float:
    """Return the age of a reading in seconds."""
    reading = source.read(boot_seconds()).get(name)
    assert reading is not None
    return boot_seconds() - reading.observed_at


class Publisher:
    """Publishes to a broker as a program of its own would; each call returns when the broker has the message."""

    def __init__(self, host: str, port: int, *, prefix: str = "") -> None:
        self._prefix = prefix
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self._client.connect(host, port)
        self._client.loop_start()

    def say(self, topic: str, payload: str, *, retain: bool = True) -> None:
        self._client.publish(self._prefix + topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE_SECONDS)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def keeps(root: object, text: str) -> bool:
    """Return True when a text can still be reached from an object, by whatever way."""
    seen: set[int] = set()
    pending = [root]
    while pending:
        item = pending.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType | types.FunctionType | types.FrameType):
            continue
        seen.add(id(item))
        if isinstance(item, str) and text in item:
            return True
        if isinstance(item, bytes | bytearray) and text.encode() in item:
            return True
        pending += gc.get_referents(item)
    return False
