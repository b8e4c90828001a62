"""The scripted car: what it says when, and that the rules make of it the reason that the script asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetclient.rules.decision import Memory, Now
from fleetclient.rules.eligibility import evaluate
from fleetclient.rules.rules import Rules
from fleetclient.vehicle.scripted import AWAY, ScriptedSource
from fleetclient.vehicle.signals import SIGNALS
from tests.client.vehicle.hearing import Bell, wait_until

LONG_ALLOWED = Memory(was_allowed=True, open_since_elapsed=0.0)
NOON = 1_767_612_600.0  # 5 January 2026, 11:30 UTC


class Stage:
    """Scripted cars on a clock of their own, started and ended with the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._made: list[ScriptedSource] = []

    def make(self, bell: Bell | None = None, **options: object) -> ScriptedSource:
        source = ScriptedSource(began_at=1000.0, clock=lambda: self.now, **options)  # type: ignore[arg-type]
        self._made.append(source)
        source.start((bell or Bell()).ring)
        return source

    def close(self) -> None:
        for each in self._made:
            each.stop()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def test_unless_told_otherwise_it_stands_plugged_in_at_home_and_may_work(stage: Stage) -> None:
    source = stage.make()
    signals = source.read(1000.0)
    assert {name for name, reading in signals if reading is not None and reading.value is not None} == set(SIGNALS)
    decision = evaluate(signals, Rules(), Now(unix=NOON, elapsed=1000.0), memory=LONG_ALLOWED)
    assert decision.allow, decision.reasons
    assert source.absent_seconds(1000.0) is None


@pytest.mark.parametrize("reason", sorted(set(AWAY) - {"unplugged"}))
def test_the_rules_give_the_reason_that_the_script_asks_for(stage: Stage, reason: str) -> None:
    source = stage.make(away=[(10.0, 25.0)], away_reason=reason)
    decision = evaluate(source.read(1010.0), Rules(), Now(unix=NOON, elapsed=1010.0), memory=LONG_ALLOWED)
    assert not decision.allow
    assert decision.reasons[0] == reason
    assert evaluate(source.read(1025.0), Rules(), Now(unix=NOON, elapsed=1025.0), memory=LONG_ALLOWED).allow


@pytest.mark.parametrize("reason", ["paused_user", "shutting_down", "data_cap", "unplugged"])
def test_a_reason_that_no_signal_can_say_is_a_car_without_a_cable(stage: Stage, reason: str) -> None:
    source = stage.make(away=[(10.0, 25.0)], away_reason=reason)
    decision = evaluate(source.read(1010.0), Rules(), Now(unix=NOON, elapsed=1010.0), memory=LONG_ALLOWED)
    assert decision.reasons == ("not_plugged_in",)


def test_absences_are_half_open_and_tell_how_long_they_last(stage: Stage) -> None:
    source = stage.make(away=[(10.0, 25.0)], start_delay_seconds=2.0)
    told = {at: (is_plugged(source, at), source.absent_seconds(at)) for at in (1000.0, 1002.0, 1010.0, 1024.0, 1025.0)}
    assert told == {
        1000.0: (False, 2.0),
        1002.0: (True, None),
        1010.0: (False, 15.0),
        1024.0: (False, 1.0),
        1025.0: (True, None),
    }


def test_nobody_knows_how_long_a_file_keeps_it_away(stage: Stage, tmp_path: Path) -> None:
    bell = Bell()
    source = stage.make(bell, away_file=tmp_path / "away", away=[(0.0, 50.0)])
    wait_until(lambda: bell.count == 1)
    assert source.absent_seconds(1000.0) == 50.0
    (tmp_path / "away").touch()
    assert source.absent_seconds(1000.0) is None
    assert not is_plugged(source, 1060.0)
    (tmp_path / "away").unlink()
    assert is_plugged(source, 1060.0)


def test_the_agent_is_woken_when_the_file_comes_and_when_it_goes(stage: Stage, tmp_path: Path) -> None:
    bell = Bell()
    stage.make(bell, away_file=tmp_path / "away")
    wait_until(lambda: bell.count == 1)
    (tmp_path / "away").touch()
    wait_until(lambda: bell.count == 2)
    (tmp_path / "away").unlink()
    wait_until(lambda: bell.count == 3)


def is_plugged(source: ScriptedSource, at: float) -> bool:
    reading = source.read(at).get("plugged_in")
    assert reading is not None
    assert reading.observed_at == at
    return reading.value is True
