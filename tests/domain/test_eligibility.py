"""Which batch a car is asked to work on."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, strategies

from workunits.domain.eligibility import OpenBatch, VehicleOffer, choose_batches, suits
from workunits.domain.pacing import next_sync_seconds

OFFER = VehicleOffer(
    vehicle_id=0,
    wanted=1,
    memory_bytes=100,
    opset_max=17,
    cached_models=frozenset(),
    cursor_batch_id=None,
    misses=0,
)


def batch(number, *, lane=0, priority=0, memory_bytes=50, opset=17, model="m"):
    return OpenBatch(
        batch_id=number,
        lane=lane,
        priority=priority,
        memory_bytes=memory_bytes,
        opset=opset,
        model_sha256=model,
        contract={},
    )


def chosen(board, offer=OFFER, batches_max=3):
    return [item.batch_id for item in choose_batches(board, offer, batches_max=batches_max)]


def test_memory_and_runtime_must_suffice_exactly():
    assert suits(batch(1, memory_bytes=100, opset=17), OFFER)
    assert not suits(batch(1, memory_bytes=101), OFFER)
    assert not suits(batch(1, opset=18), OFFER)


def test_priority_then_cache_then_the_batch_worked_on_last():
    board = [batch(1), batch(2, model="cached"), batch(3), batch(4, priority=1)]
    offer = replace(OFFER, cached_models=frozenset({"cached"}), cursor_batch_id=3)
    assert chosen(board, offer, 4) == [4, 2, 3, 1]


def test_all_batches_of_a_sync_are_of_one_lane_and_misses_move_on_to_the_next():
    board = [batch(1, lane=5), batch(2, lane=7), batch(3, lane=5)]
    assert chosen(board) == [1, 3]
    assert chosen(board, replace(OFFER, misses=1)) == [2]
    assert chosen(board, replace(OFFER, misses=2)) == [1, 3]


def test_cars_are_spread_over_equal_batches():
    board = [batch(number, lane=number) for number in range(4)]
    assert {chosen(board, replace(OFFER, vehicle_id=n))[0] for n in range(4)} == {0, 1, 2, 3}


def test_who_wants_nothing_or_suits_nothing_gets_nothing():
    assert chosen([batch(1)], replace(OFFER, wanted=0)) == []
    assert chosen([batch(1, memory_bytes=1000)]) == []
    assert chosen([]) == []


@given(strategies.floats(0, 1, exclude_max=True), strategies.booleans())
def test_the_pace_stays_within_its_jitter(draw, is_busy):
    pace = next_sync_seconds(is_busy=is_busy, working_seconds=10, idle_seconds=100, jitter_ratio=0.2, draw=draw)
    base = 10 if is_busy else 100
    assert base * 0.8 <= pace <= base * 1.2


def test_a_lane_of_many_batches_that_have_nothing_for_a_car_is_gone_through_to_its_end():
    board = [batch(number) for number in range(8)] + [batch(number, lane=1) for number in (8, 9)]
    offer, seen = OFFER, set()
    for misses in range(6):
        looked_at = chosen(board, replace(offer, misses=misses))
        seen |= set(looked_at)
        offer = replace(offer, cursor_batch_id=looked_at[-1])  # as a sync that finds nothing leaves it
    assert seen == set(range(10))
