"""One key in two cars is noticed; a restart, a reinstallation or a restored backup is not mistaken for it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.engine.factories import make_batch
from tests.vehicle_api.signed_car import idle_sync, problem
from workunits.models import Vehicle, VehiclePresence
from workunits.pipeline.identity import clear_suspicion

INSTANCES = {"A": "a" * 32, "B": "b" * 32}


def speak(car, boot: str, *, instance: str = "A", want: int = 0, **state):
    agent = {**idle_sync()["agent"], "instance": INSTANCES[instance], "boot": (boot * 32)[:32]}
    capacity = {"replicas": want, "memory_bytes": 10_000, "opset_max": 23}
    content = idle_sync(agent=agent, capacity=capacity, state={"eligible": True, "reasons": [], **state})
    return car.verified(car.sync(content))


def suspected(car) -> bool:
    return Vehicle.objects.get(id=car.vehicle.id).is_clone_suspected


def test_two_processes_that_use_one_key_in_turn_get_no_more_work_and_the_owner_is_told(car):
    make_batch(units=10)
    assert len(speak(car, "1", want=1)["leases"]) == 1
    second = speak(car, "2", instance="B", want=1)
    assert len(second["leases"]) == 2, "a lease that it does not mention is sent again, and one more"
    assert second["messages"] == []
    assert not suspected(car)
    third = speak(car, "1", want=1)
    assert third["leases"] == []
    assert [(message["level"], message["code"]) for message in third["messages"]] == [("warning", "clone_suspected")]
    assert suspected(car)
    assert speak(car, "2", instance="B", want=1)["leases"] == []


def test_three_copies_are_noticed_like_two(car):
    for boot in "123":
        speak(car, boot)
    assert not suspected(car)
    speak(car, "1")
    assert suspected(car)


def test_restarts_reinstallations_and_restored_backups_are_no_copies(car):
    for boot, instance in [("1", "A"), ("2", "A"), ("3", "B"), ("4", "A"), ("5", "B"), ("5", "B"), ("6", "A")]:
        speak(car, boot, instance=instance)
    assert not suspected(car)
    presence = VehiclePresence.objects.get(vehicle=car.vehicle)
    assert (presence.instance, presence.boot_marks[0]) == (INSTANCES["A"], "6" * 32)


def test_many_restarts_leave_a_short_row(car):
    for number in range(30):
        speak(car, f"{number:02}")
    assert len(VehiclePresence.objects.get(vehicle=car.vehicle).boot_marks) == 8
    assert not suspected(car)


def test_a_client_that_says_nothing_of_itself_is_never_suspected(car):
    for _ in range(4):
        car.verified(car.sync())
    assert not suspected(car)
    assert VehiclePresence.objects.get(vehicle=car.vehicle).boot_marks == []


def test_a_sync_that_was_refused_teaches_nothing(car):
    speak(car, "1")
    car.counter -= 1
    agent = {**idle_sync()["agent"], "instance": INSTANCES["B"], "boot": "2" * 32}
    assert problem(car.sync(idle_sync(agent=agent))) == (409, "counter_replayed")
    assert VehiclePresence.objects.get(vehicle=car.vehicle).boot_marks == ["1" * 32]
    speak(car, "1")
    assert not suspected(car)


def test_a_suspicion_that_nothing_renews_ends_by_itself(car):
    make_batch(units=10)
    for boot in "121":
        speak(car, boot)
    Vehicle.objects.update(clone_suspected_at=timezone.now() - timedelta(days=8))
    assert len(speak(car, "1", want=1)["leases"]) == 1
    assert not suspected(car)
    speak(car, "2")
    assert suspected(car), "the copy is back"


def test_a_mark_from_long_ago_is_not_held_against_the_car(car):
    speak(car, "1")
    speak(car, "2")
    VehiclePresence.objects.update(boot_changed_at=timezone.now() - timedelta(days=8))
    speak(car, "1")
    assert not suspected(car)


def test_the_owner_ends_a_suspicion_and_only_the_owner(car):
    for boot in "121":
        speak(car, boot)
    assert not clear_suspicion(vehicle_id=car.vehicle.id, owner_id=car.vehicle.owner_id + 1)
    assert suspected(car)
    assert clear_suspicion(vehicle_id=car.vehicle.id, owner_id=car.vehicle.owner_id)
    assert not suspected(car)
    speak(car, "1")
    speak(car, "1")
    assert not suspected(car)
    for boot in "21":
        speak(car, boot)
    assert suspected(car), "both are still there"


def test_clock_and_walls_are_kept_and_written_only_when_they_change(car):
    agent = {**idle_sync()["agent"], "instance": INSTANCES["A"], "boot": "1" * 32, "walls": ["seccomp", "rlimits"]}

    def sync(skew: float) -> int:
        content = idle_sync(agent=agent, state={"eligible": True, "reasons": [], "clock_skew_seconds": skew})
        with CaptureQueriesContext(
            connection,
        ) as captured:
            car.verified(car.sync(content))
        return len(captured)

    with CaptureQueriesContext(connection) as captured:
        car.verified(car.sync())
    plain = len(captured)
    assert sync(-61.5) == plain + 1
    assert sync(-61.5) == plain
    assert sync(-62.0) == plain
    presence = VehiclePresence.objects.get(vehicle=car.vehicle)
    assert (presence.walls, presence.clock_skew_seconds) == (["seccomp", "rlimits"], -61.5)
    assert sync(10.0) == plain + 1
    assert VehiclePresence.objects.get(vehicle=car.vehicle).clock_skew_seconds == 10.0


@pytest.mark.parametrize(
    ("part", "change", "named"),
    [
        ("agent", {"instance": "A" * 32}, "agent.instance"),
        ("agent", {"instance": 1}, "agent.instance"),
        ("agent", {"boot": "a" * 33}, "agent.boot"),
        ("agent", {"walls": "seccomp"}, "agent.walls"),
        ("agent", {"walls": [1]}, "agent.walls"),
        ("state", {"clock_skew_seconds": "1"}, "state.clock_skew_seconds"),
        ("state", {"clock_skew_seconds": True}, "state.clock_skew_seconds"),
        ("state", {"clock_skew_seconds": 1e300}, "state.clock_skew_seconds"),
    ],
)
def test_a_wrong_word_about_itself_is_named_and_changes_nothing(car, part, change, named):
    content = idle_sync()
    content[part] |= change
    response = car.sync(content)
    assert problem(response) == (400, "malformed_request")
    assert named in response.json()["detail"]
    assert VehiclePresence.objects.get(vehicle=car.vehicle).counter == 0
