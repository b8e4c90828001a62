"""What may run: models that the fleet's repository lists and that do not crash here, and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from fleetclient.agent.pace import SHY_SECONDS, SHY_SECONDS_MAX, Shyness
from fleetclient.clock import boot_seconds, wall_seconds
from fleetclient.runner.crashes import CrashReason
from fleetclient.trust.gate import Admission
from fleetclient.wire import BLOBS_PATH
from tests.client.fake_fleet import FakeFleet
from tests.client.support import Car, add_slow_units, add_units, assert_all_right, looping_model, wait_until

MakeCar = Callable[..., Car]


class Word(StrEnum):
    ADMITTED = "admitted"
    REFUSED = "refused"
    PENDING = "pending"


@dataclass
class ScriptedGate:
    """A gate that says what a test tells it, and notes when it was asked to look."""

    word: Word = Word.PENDING
    after_look: Word | None = None
    wanted: list[tuple[str, int]] = field(default_factory=list)
    looks: int = 0

    def judge(self, sha256: str, size_bytes: int) -> Word:
        del sha256, size_bytes
        return self.word

    def want(self, models: list[tuple[str, int]]) -> None:
        self.wanted = models

    def is_due(self, now: float) -> bool:
        del now
        return bool(self.wanted) and self.word is Word.PENDING

    def seconds_until_due(self, now: float) -> float:
        return 0.0 if self.is_due(now) else float("inf")

    def refresh_if_due(self, now: float) -> bool:
        del now
        self.looks += 1
        self.word = self.after_look or self.word
        return self.after_look is not None


def blob_requests(fleet: FakeFleet) -> list[str]:
    return [path for _, path, _ in fleet.requests if path.startswith(BLOBS_PATH)]


def test_a_unit_waits_until_the_repository_has_been_asked(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 2)
    gate = ScriptedGate()
    worker = car(gate=gate)
    worker.step_until(lambda: gate.looks >= 3)
    assert gate.wanted == [(fleet.units[0].contract["model"]["sha256"], fleet.units[0].contract["model"]["bytes"])]
    assert blob_requests(fleet) == []
    assert worker.parts.workshop.runner is None
    assert fleet.hand_backs == []
    gate.after_look = Word.ADMITTED
    worker.step_until(lambda: fleet.count("stored") == 2)
    assert_all_right(fleet)


def test_a_model_the_repository_does_not_list_is_neither_fetched_nor_run(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 2)
    worker = car(gate=ScriptedGate(after_look=Word.REFUSED))
    worker.step_until(lambda: len(fleet.hand_backs) == 2)
    assert {(item["kind"], item["reason"]) for item in fleet.hand_backs} == {("error", "not_admitted")}
    assert blob_requests(fleet) == []
    assert worker.events("runner_started") == []


def test_a_model_that_leaves_the_repository_is_stopped_in_the_middle_of_a_unit(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 1, rows=2000)
    gate = ScriptedGate(word=Word.ADMITTED)
    worker = car(gate=gate, simulation={"speed": 0.05})
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    gate.word = Word.REFUSED
    worker.step()
    assert worker.parts.workshop.runner is None
    worker.step_until(lambda: bool(fleet.hand_backs))
    assert fleet.hand_backs[0]["reason"] == "not_admitted"


def test_after_three_crashes_a_model_is_refused_and_others_are_not(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 5, rows=2000)
    worker = car(simulation={"speed": 0.05})
    model = fleet.units[0].contract["model"]["sha256"]
    for crashes in (1, 2, 3):
        worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
        assert worker.parts.workshop.runner is not None
        os.kill(worker.parts.workshop.runner.pid, signal.SIGSEGV)
        worker.step_until(lambda crashes=crashes: len(worker.events("model_crashed")) == crashes)  # type: ignore[misc]
    worker.step_until(lambda: len(fleet.hand_backs) >= 4)
    assert worker.crashes.is_refused(model, now=wall_seconds())
    assert [item["reason"] for item in fleet.hand_backs[:3]] == ["run_failed"] * 3
    assert {item["reason"] for item in fleet.hand_backs[3:]} == {"model_refused"}
    assert len(worker.events("runner_started")) == 3
    fleet.units.clear()
    add_units(fleet, 1, rows=2)
    later = SHY_SECONDS + 1.0
    wait_until(lambda: fleet.count("stored") == 1, also=lambda: worker.step(boot_seconds() + later))


def test_a_refusal_outlives_a_restart(fleet: FakeFleet, car: MakeCar) -> None:
    model = looping_model(1)
    add_units(fleet, 1, model=model)
    first = car()
    name = fleet.units[0].contract["model"]["sha256"]
    for _ in range(3):
        first.crashes.record(name, CrashReason.FAULT, now=wall_seconds())
    first.close()
    second = car()
    second.step_until(lambda: bool(fleet.hand_backs))
    assert fleet.hand_backs[0]["reason"] == "model_refused"
    assert blob_requests(fleet) == []


def test_a_car_that_refused_all_it_was_given_asks_for_nothing_for_a_while(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 30)
    worker = car(gate=ScriptedGate(word=Word.REFUSED))
    worker.step_until(lambda: len(fleet.syncs) >= 6)
    wants = [sync["capacity"]["replicas"] for sync in fleet.syncs]
    assert wants[0] > 0
    assert set(wants[1:]) == {0}
    assert len(fleet.hand_backs) == wants[0]


def test_shyness_doubles_to_a_limit_and_ends_with_the_first_unit_that_can_be_taken() -> None:
    shyness = Shyness()
    assert not shyness.is_shy(0.0)
    shyness.leased(0, refused=0, now=0.0)
    assert not shyness.is_shy(0.0)
    shyness.leased(4, refused=3, now=0.0)
    assert not shyness.is_shy(0.0)
    waits, now = [], 0.0
    for _ in range(10):
        shyness.leased(4, refused=4, now=now)
        waits.append(next(wait for wait in range(5000) if not shyness.is_shy(now + wait)))
        now += waits[-1]
    assert waits[:3] == [SHY_SECONDS, 2 * SHY_SECONDS, 4 * SHY_SECONDS]
    assert waits[-1] == SHY_SECONDS_MAX
    shyness.leased(4, refused=0, now=now)
    shyness.leased(4, refused=4, now=now)
    assert not shyness.is_shy(now + SHY_SECONDS)


@pytest.mark.parametrize("word", list(Word))
def test_the_words_of_this_test_are_the_gates_own(word: Word) -> None:
    assert Admission(word.value).value == word.value


def test_a_contract_that_is_too_long_for_a_runner_is_handed_back_and_the_next_unit_is_run(
    fleet: FakeFleet, car: MakeCar
) -> None:
    add_units(fleet, 2)
    tensors = fleet.units[0].contract["outputs"]
    tensors += [{"name": f"{index}" * 100, "dtype": "F32", "shape": [1]} for index in range(100, 300)]
    worker = car()
    worker.step_until(lambda: fleet.count("stored") == 1)
    (back,) = fleet.hand_backs
    assert (back["token"], back["kind"], back["reason"]) == (fleet.units[0].token, "error", "model_load_failed")
