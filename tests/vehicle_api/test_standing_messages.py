"""A car's own page says that it is watched or held back."""

from __future__ import annotations

import pytest

from fleetcompute.api.vehicle.messages import list_messages
from tests.engine.factories import NOW, make_batch
from tests.vehicle_api.signed_car import idle_sync
from workunits.domain.audits.standing import Standing
from workunits.models import VehicleStanding


@pytest.mark.parametrize(
    ("standing", "is_suspected", "codes"),
    [
        (Standing.NORMAL, False, []),
        (Standing.NORMAL, True, ["clone_suspected"]),
        (Standing.WATCHED, False, ["watched"]),
        (Standing.QUARANTINED, True, ["clone_suspected", "quarantined"]),
    ],
)
def test_each_standing_that_an_owner_should_know_has_its_message(standing, is_suspected, codes) -> None:
    assert [message.code for message in list_messages(standing, is_suspected=is_suspected)] == codes


def test_a_car_that_is_held_back_is_told_so_and_gets_nothing(car) -> None:
    make_batch(units=1)
    VehicleStanding.objects.create(vehicle=car.vehicle, state="quarantined", quarantined_at=NOW)
    capacity = {"replicas": 1, "memory_bytes": 10_000, "opset_max": 23}
    answer = car.verified(car.sync(idle_sync(capacity=capacity, state={"eligible": True, "reasons": []})))
    assert [(message["level"], message["code"]) for message in answer["messages"]] == [("error", "quarantined")]
    assert answer["leases"] == []
