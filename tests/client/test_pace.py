"""Pure decisions: backoff, pace, how much to hold, what to hand back, the sync's limits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetclient.agent.absence import list_units_to_hand_back
from fleetclient.agent.exchange import INLINE_BYTES_PER_SYNC_MAX, build_sync
from fleetclient.agent.pace import Pace, count_units_to_hold
from fleetclient.backoff import Backoff
from fleetclient.journal import Journal
from fleetclient.spool import Spool
from fleetclient.units import Result, Unit, UnitState
from fleetclient.vehicle.source import VehicleState
from fleetclient.wire import AgentInfo, Capacity
from tests.client.test_journal import lease


@given(failures=st.integers(0, 100), seed=st.integers())
def test_a_wait_is_between_nothing_and_the_doubled_base_under_the_cap(failures: int, seed: int) -> None:
    backoff = Backoff(base_seconds=1.0, cap_seconds=900.0, failures=failures, random=random.Random(seed))
    assert 0.0 <= backoff.failed() <= min(900.0, 2.0 ** min(failures, 30))
    assert backoff.failures == failures + 1


def test_retry_after_is_never_undercut() -> None:
    backoff = Backoff(random=random.Random(1))
    assert all(60.0 <= backoff.failed(60.0) <= 62.0 for _ in range(20))


def test_waits_of_many_cars_are_spread() -> None:
    waits = [Backoff(failures=10, random=random.Random(seed)).failed() for seed in range(1000)]
    assert len({int(wait) // 90 for wait in waits}) == 10


def test_the_next_sync_is_due_when_the_server_said() -> None:
    pace = Pace(now=100.0)
    assert pace.due_at() == 100.0
    pace.began(100.0)
    pace.answered(101.0, 900.0)
    assert pace.due_at() == 1001.0


def test_a_departure_may_sync_early_but_not_more_than_once_a_second() -> None:
    pace = Pace(now=100.0)
    pace.began(100.0)
    pace.answered(100.1, 900.0)
    pace.hurry()
    assert pace.due_at() == 101.0
    pace.began(101.0)
    pace.answered(101.1, 900.0)
    assert pace.due_at() == 1001.1


def test_a_departure_does_not_hurry_a_server_in_trouble() -> None:
    pace = Pace(now=100.0)
    pace.began(100.0)
    pace.failed(100.0, 300.0)
    pace.hurry()
    assert pace.due_at() >= 400.0


@pytest.mark.parametrize(
    ("next_sync", "unit_seconds", "expected"),
    [
        (None, None, 4),
        (1.0, None, 4),
        (900.0, None, 16),
        (1.0, 2.0, 2),
        (1.0, 0.5, 4),
        (1.0, 0.01, 16),
        (900.0, 300.0, 6),
        (1.0, 0.0, 16),
    ],
)
def test_it_holds_enough_to_stay_busy_and_no_more(
    next_sync: float | None, unit_seconds: float | None, expected: int
) -> None:
    assert count_units_to_hold(next_sync_seconds=next_sync, unit_seconds=unit_seconds, replicas_max=16) == expected


def unit(index: int, deadline_at: float | None) -> Unit:
    return Unit(
        sequence=index,
        lease=lease(f"{index:022d}"),
        state=UnitState.HELD,
        leased_at=0.0,
        deadline_at=deadline_at,
    )


def kept(units: list[Unit], absent_seconds: float | None, *, hand_back: bool = False) -> list[int]:
    leaving = list_units_to_hand_back(
        units, now=100.0, absent_seconds=absent_seconds, unit_seconds=10.0, hand_back=hand_back
    )
    return [each.sequence for each in units if each not in leaving]


def test_only_units_that_can_still_be_finished_are_kept() -> None:
    units = [unit(1, 161.0), unit(2, 165.0), unit(3, 175.0), unit(4, None)]
    # Back at 150: the first ends at 160, the second would end at 170, so the third ends at 170.
    assert kept(units, 50.0) == [1, 3]
    assert kept(units, 0.0) == [1, 2, 3]
    assert kept(units, 500.0) == []


def test_everything_goes_back_when_the_owner_says_so_or_nobody_knows_for_how_long() -> None:
    units = [unit(1, 1000.0)]
    assert kept(units, 1.0, hand_back=True) == []
    assert kept(units, None) == []


def test_a_sync_offers_no_more_than_its_limits_and_still_mentions_every_unit(tmp_path: Path) -> None:
    journal, spool = Journal(tmp_path / "journal.sqlite", boot_id="boot"), Spool(tmp_path)
    tokens = [f"{index:022d}" for index in range(30)]
    journal.add_leases([lease(token) for token in tokens], now=0.0)
    size = 90_000
    for token in tokens:
        spool.output_path(token).write_bytes(b"o" * size)
        journal.finish(token, Result(digest="00" * 32, output_bytes=size, cpu_seconds=1.0))

    def build(commitments_max: int) -> tuple[int, int]:
        sync = build_sync(
            journal=journal,
            spool=spool,
            agent=AgentInfo(version="0", runtime="r", comparison_class="c"),
            state=VehicleState(eligible=True),
            capacity=Capacity(replicas=0, memory_bytes=1, opset_max=23),
            models=(),
            commitments_max=commitments_max,
        )
        mentioned = [item.token for item in sync.commitments] + list(sync.held)
        assert sorted(mentioned) == tokens
        return len(sync.commitments), sum(len(item.inline or b"") for item in sync.commitments)

    assert build(5) == (5, 5 * size)
    count, inline_bytes = build(64)
    assert (count, inline_bytes) == (INLINE_BYTES_PER_SYNC_MAX // size, count * size)
