"""Dispatch: leases, hand-backs, repeats, and what one owner may hold."""

from __future__ import annotations

import pytest

from tests.engine.factories import (
    NOW,
    Car,
    commit,
    later,
    lease_seconds,
    make_batch,
    make_owner,
    make_vehicle,
    rows_of,
    snapshot,
)
from workunits.models import Batch, VehiclePresence
from workunits.pipeline.dispatch import CounterReplayed
from workunits.pipeline.recover import expire_overdue_leases
from workunits.pipeline.report import OfferedReturn
from workunits.pipeline.validate import validate_ready

pytestmark = pytest.mark.django_db


def unit_numbers(leases):
    """The units of an answer, whose order is shuffled."""
    return sorted(lease.replica.ref.unit_number for lease in leases)


def test_a_car_gets_the_units_it_asks_for_in_order():
    batch = make_batch(units=5)
    leases = Car().lease(3)
    assert unit_numbers(leases) == [0, 1, 2]
    assert [unit["needed"] for unit in rows_of("unit", batch_id=batch.id)] == [1, 1, 1, 2, 2]


def test_a_second_owner_completes_the_quorum_and_a_third_gets_nothing():
    make_batch(units=2)
    assert unit_numbers(Car().lease(5)) == [0, 1]
    assert unit_numbers(Car().lease(5)) == [0, 1]
    assert Car().lease(5) == []


def test_an_owner_never_gets_two_replicas_of_a_unit_whichever_of_his_cars_asks():
    make_batch(units=3)
    owner = make_owner()
    first, second = Car(make_vehicle(owner)), Car(make_vehicle(owner))
    assert unit_numbers(first.lease(3)) == [0, 1, 2]
    assert second.lease(3) == []


def test_the_cursor_takes_a_car_on_through_the_batch_and_back_to_its_start():
    batch = make_batch(units=6)
    car = Car()
    assert unit_numbers(car.lease(4)) == [0, 1, 2, 3]
    assert unit_numbers(car.lease(4)) == [4, 5]
    presence = VehiclePresence.objects.get(vehicle=car.vehicle)
    assert (presence.cursor_batch_id, presence.cursor_unit_number) == (batch.id, -1)


def test_work_goes_only_where_memory_and_runtime_suffice():
    make_batch(memory_bytes=5_000, opset=20)
    assert Car(memory_bytes=4_999).lease(1) == []
    assert Car(opset_max=19).lease(1) == []
    assert len(Car(memory_bytes=5_000, opset_max=20).lease(1)) == 1


def test_a_cached_model_is_preferred_and_priority_comes_before_it():
    older, cached = make_batch(), make_batch()
    car = Car()
    car.models = frozenset({cached.model.blob_id})
    assert car.lease(1)[0].replica.ref.batch_id == cached.id
    urgent = make_batch(priority=5)
    assert car.lease(1)[0].replica.ref.batch_id == urgent.id
    assert older.id not in {lease.replica.ref.batch_id for lease in car.held.values()}


def test_a_car_that_finds_nothing_in_one_lane_looks_into_the_next():
    batches = [make_batch(units=1) for _ in range(4)]
    car = Car()
    found = {lease.replica.ref.batch_id for _ in range(12) for lease in car.lease(5)}
    assert found == {batch.id for batch in batches}


def test_a_lane_with_two_batches_counts_as_one_miss():
    """Counted twice, a car could go round the same lanes for ever and never look into another."""
    lanes: dict[int, list[int]] = {}
    while not any(len(batches) == 2 for batches in lanes.values()):
        batch = make_batch(units=1)
        lanes.setdefault(batch.lane, []).append(batch.id)
    pair = next(batches for batches in lanes.values() if len(batches) == 2)
    Batch.objects.exclude(id__in=pair).update(status="paused")
    car = Car()
    assert {lease.replica.ref.batch_id for lease in car.lease(5)} == set(pair)
    misses = []
    for _ in range(3):
        assert car.lease(5) == []
        misses.append(VehiclePresence.objects.get().misses)
    assert misses == [1, 2, 3]


def test_a_paused_batch_leases_nothing_and_still_takes_reports():
    batch = make_batch()
    car = Car()
    car.lease(1)
    Batch.objects.filter(id=batch.id).update(status="paused")
    assert car.lease(1) == []
    assert [code for _, code in car.report_all().outcomes] == ["stored"]


def test_a_car_that_is_not_eligible_gets_nothing():
    make_batch()
    assert Car().sync(want=3, eligible=False).leases == []


def test_a_lost_answer_is_sent_again_under_the_same_tokens():
    make_batch(units=3)
    car = Car()
    first = car.lease(2)
    car.held.clear()  # the answer never arrived
    again = car.sync(want=0, at=later(10))
    assert {lease.token for lease in again.leases} == {lease.token for lease in first}
    assert [lease.deadline_seconds for lease in again.leases] == [lease_seconds() - 10] * 2
    assert len(rows_of("replica")) == 2


def test_a_repeated_report_answers_as_the_first_and_changes_nothing():
    batch = make_batch()
    car = Car()
    lease = car.lease(1)[0]
    first = car.sync(commitments=[commit(lease)])
    before = snapshot(batch)[:4]
    again = car.sync(commitments=[commit(lease)])
    assert first.outcomes == again.outcomes == [(lease.token, "stored")]
    assert snapshot(batch)[:4] == before


def test_a_repeated_hand_back_answers_as_the_first():
    make_batch()
    car = Car()
    lease = car.lease(1)[0]
    assert car.hand_back(lease).outcomes == [(lease.token, "returned")]
    assert car.hand_back(lease).outcomes == [(lease.token, "returned")]
    assert [replica["state"] for replica in rows_of("replica")] == ["RETURNED"]


def test_a_replayed_counter_is_refused_and_changes_nothing():
    batch = make_batch()
    car = Car()
    car.lease(1)
    before = snapshot(batch)
    car.counter -= 1
    with pytest.raises(CounterReplayed):
        car.sync(want=1)
    assert snapshot(batch) == before


def test_a_large_output_is_committed_first_and_asked_for():
    make_batch()
    car = Car()
    lease = car.lease(1)[0]
    assert car.sync(commitments=[commit(lease, inline=False)]).outcomes == [(lease.token, "upload")]
    assert [replica["state"] for replica in rows_of("replica")] == ["COMMITTED"]
    assert car.sync(commitments=[commit(lease, inline=False)]).outcomes == [(lease.token, "upload")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"digest": b"\0" * 32}, "output_digest_mismatch"),
        ({"output": b"\x10\0\0\0\0\0\0\0nonsense-nonsense", "output_bytes": 25}, "output_digest_mismatch"),
        ({"output_bytes": 100_001, "output": None}, "output_too_large"),
        ({"token": "A" * 22}, "replica_unknown"),
        ({"token": "not a token"}, "replica_unknown"),
    ],
)
def test_a_wrong_commitment_gets_its_own_code_and_changes_no_work(change, code):
    batch = make_batch()
    car = Car()
    lease = car.lease(1)[0]
    before = snapshot(batch)[:4]
    wrong = commit(lease)
    offered = type(wrong)(**{name: change.get(name, getattr(wrong, name)) for name in wrong.__slots__})
    assert car.sync(commitments=[offered]).outcomes[0][1] == code
    assert snapshot(batch)[:4] == before


def test_an_output_with_the_wrong_number_of_rows_is_malformed():
    from tests.engine.factories import honest_output

    batch = make_batch(rows=2)
    car = Car()
    lease = car.lease(1)[0]
    before = snapshot(batch)[:4]
    answer = car.sync(commitments=[commit(lease, output=honest_output(rows=3))])
    assert answer.outcomes == [(lease.token, "output_malformed")]
    assert snapshot(batch)[:4] == before


def test_another_cars_replica_cannot_be_reported_or_returned():
    batch = make_batch()
    car, thief = Car(), Car()
    lease = car.lease(1)[0]
    before = snapshot(batch)[:4]
    answer = thief.sync(
        commitments=[commit(lease)],
    )
    assert answer.outcomes == [(lease.token, "replica_not_yours")]
    answer = thief.hand_back(lease)
    assert answer.outcomes == [(lease.token, "replica_not_yours")]
    assert snapshot(batch)[:4] == before


def test_the_same_owners_other_car_cannot_report_it_either():
    batch = make_batch()
    owner = make_owner()
    car, other = Car(make_vehicle(owner)), Car(make_vehicle(owner))
    lease = car.lease(1)[0]
    before = snapshot(batch)[:4]
    assert other.sync(commitments=[commit(lease)]).outcomes == [(lease.token, "replica_not_yours")]
    assert snapshot(batch)[:4] == before


def test_a_report_after_the_lease_expired_is_refused_and_the_unit_went_back():
    batch = make_batch(units=1)
    car = Car()
    lease = car.lease(1)[0]
    assert expire_overdue_leases(now=later(lease_seconds() + 11)) == 1
    validate_ready(now=NOW)
    before = snapshot(batch)[:4]
    assert car.sync(commitments=[commit(lease)]).outcomes == [(lease.token, "lease_expired")]
    assert snapshot(batch)[:4] == before
    assert [(unit["needed"], unit["urgent"]) for unit in rows_of("unit")] == [(2, True)]


def test_a_unit_that_was_handed_back_goes_out_first():
    make_batch(units=6)
    car = Car()
    leases = car.lease(3)
    car.hand_back(leases[2])
    validate_ready(now=NOW)
    other = Car()
    assert unit_numbers(other.lease(1)) == [leases[2].replica.ref.unit_number]


def test_the_same_owner_may_take_a_unit_again_that_he_handed_back_and_only_so_often():
    make_batch(units=1, quorum=1)
    car = Car()
    for attempt in (1, 2, 3):
        lease = car.lease(1)[0]
        assert lease.replica.ref.attempt == attempt
        car.hand_back(lease)
        validate_ready(now=NOW)
    assert car.lease(1) == []


def test_an_old_attempts_token_is_an_expired_lease():
    make_batch(units=1, quorum=1)
    car = Car()
    old = car.lease(1)[0]
    car.hand_back(old)
    validate_ready(now=NOW)
    car.lease(1)
    assert car.sync(commitments=[commit(old)]).outcomes == [(old.token, "lease_expired")]


def test_held_work_that_is_of_no_use_any_more_is_cancelled():
    make_batch()
    car = Car()
    car.lease(1)
    token = next(iter(car.held))
    car.sync(returned=[OfferedReturn(token=token, is_error=False, reason="driving")])
    assert car.sync(held=[token, "garbage"]).cancelled == [token, "garbage"]


def test_a_car_holds_no_more_than_the_named_maximum(settings):
    import dataclasses

    settings.FLEET = dataclasses.replace(settings.FLEET, leases_per_vehicle_max=3)
    make_batch(units=10)
    car = Car()
    assert len(car.lease(2)) == 2
    assert len(car.lease(2)) == 1
    assert car.lease(2) == []
