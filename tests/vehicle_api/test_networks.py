"""The network that a car calls from: kept as a hash, once a day, and not at all where it tells nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.engine.factories import make_owner
from tests.vehicle_api.signed_car import SignedCar, problem
from workunits.models import OwnerNetwork
from workunits.pipeline import clusters


@pytest.fixture(autouse=True)
def process_without_memory(settings) -> Iterator[None]:
    settings.FLEET_CLIENT_ADDRESS_HEADER = "X-Real-IP"
    clusters._noted.clear()
    yield
    clusters._noted.clear()


def statements(car: SignedCar, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        car.verified(car.sync(X_Real_IP=address))
    return len(captured)


def test_a_network_costs_one_statement_a_day_and_none_in_the_syncs_after_it(car):
    plain = statements(car, "192.168.1.4")
    assert statements(car, "8.8.4.4") == plain + 1
    assert statements(car, "8.8.4.4") == plain
    assert statements(car, "9.9.9.9") == plain
    (network,) = OwnerNetwork.objects.all()
    assert network.owner_id == car.vehicle.owner_id
    assert len(bytes(network.prefix_hash)) == 16


def test_two_owners_behind_one_prefix_have_one_hash(car):
    neighbour = SignedCar(make_owner(), "neighbour")
    statements(car, "2a01:4f8:1234:1::5")
    statements(neighbour, "2a01:4f8:1234:2::9")
    assert OwnerNetwork.objects.count() == 2
    assert OwnerNetwork.objects.values("prefix_hash").distinct().count() == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.9", "100.64.7.7", "fe80::1", "", "nonsense"])
def test_an_address_that_tells_nothing_is_not_kept(car, address):
    statements(car, address)
    assert not OwnerNetwork.objects.exists()


def test_a_refused_sync_notes_no_network(car):
    assert problem(car.sync(Signature="", X_Real_IP="8.8.4.4")) == (401, "signature_missing")
    assert not OwnerNetwork.objects.exists()
