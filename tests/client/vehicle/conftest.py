"""A real broker for the tests of the vehicle's sources, one a test: retained messages must not leak between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.measure.mqtt_broker import MqttBroker, start_broker
from tests.client.vehicle.hearing import Publisher
from tests.client.vehicle.relay import Relay


@pytest.fixture
def broker() -> Iterator[MqttBroker]:
    with start_broker() as running:
        yield running


@pytest.fixture
def publisher(broker: MqttBroker) -> Iterator[Publisher]:
    made = Publisher(broker.host, broker.port)
    yield made
    made.close()


@pytest.fixture
def relay(broker: MqttBroker) -> Iterator[Relay]:
    """A wire to the broker that can be cut."""
    made = Relay(broker.port)
    yield made
    made.cut()
