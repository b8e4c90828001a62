"""Anchors: the queue of runs, who takes what, and real runs in the client's confined runner."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from safetensors.numpy import load

from tests.client.support import WEIGHTS, input_rows, linear_model
from tests.engine.audit_rows import make_audited_batch
from tests.engine.factories import NOW, later
from tests.engine.real_batch import ROWS, make_linear_batch
from workunits.domain.states import ReplicaState
from workunits.models import AnchorMachine, AnchorRun, Batch, Blob, Replica, Shard
from workunits.pipeline import anchors
from workunits.pipeline.anchors import run_next
from workunits.pipeline.resolve import resolve_anchor_runs
from workunits.sandbox import rerun
from workunits.store.anchors import (
    ALIVE_FOR,
    ATTEMPTS_MAX,
    LOST_GRACE_SECONDS,
    AnchorOrder,
    claim_run,
    fail_run,
    finish_run,
    give_back_run,
    is_anchor_alive,
    note_machine,
    order_runs,
    release_lost_runs,
)
from workunits.store.blobs import get_blob_store

pytestmark = pytest.mark.django_db
SECONDS = 60  # of the factories' contract
SHA = hashlib.sha256(b"output").hexdigest()


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: the self-test that it keeps takes a second."""
    return tmp_path_factory.mktemp("anchor")


@pytest.fixture(autouse=True)
def folder(shared_folder: Path, settings: Any) -> Iterator[Path]:
    settings.FLEET_ANCHOR_FOLDER = shared_folder
    yield shared_folder
    rerun.check_machine.cache_clear()


def order(batch: Batch, *units: int, reason: str = "dispute", at: float = 0) -> None:
    order_runs([AnchorOrder(batch.id, unit, reason) for unit in units], now=later(at))


def runs_of(batch: Batch) -> list[tuple[int, str, int, str]]:
    found = AnchorRun.objects.filter(batch=batch).order_by("id")
    return [(run.unit_number, run.state, run.attempts, run.error) for run in found]


# -- the queue ---------------------------------------------------------------------------------------------------


def test_a_unit_is_queued_once_while_its_run_is_under_way():
    batch = make_audited_batch(units=3)
    order(batch, 0, 1)
    assert order_runs([AnchorOrder(batch.id, 1, "young"), AnchorOrder(batch.id, 2, "young")], now=NOW) == 1
    assert [run[:2] for run in runs_of(batch)] == [(0, "waiting"), (1, "waiting"), (2, "waiting")]


def test_disputes_come_first_and_calibration_last_and_then_the_oldest():
    batch = make_audited_batch(units=6)
    reasons = {0: "calibration", 1: "floor", 2: "young", 3: "dispute", 4: "dispute", 5: "overdue"}
    for unit, at in ((0, 0), (1, 1), (2, 2), (4, 3), (3, 4), (5, 0)):
        order(batch, unit, reason=reasons[unit], at=at)
    taken = [claim_run("a", later(10)) for _ in range(6)]
    assert [run.unit_number for run in taken if run] == [4, 3, 2, 5, 1, 0]
    assert claim_run("a", later(10)) is None


def test_a_claim_says_what_to_run_and_whose_it_is():
    batch = make_audited_batch(units=2)
    order(batch, 1)
    run = claim_run("here", NOW)
    assert run is not None
    shard = Shard.objects.get(batch=batch)
    assert run[1:] == (
        batch.id, 1, 1, 2, shard.blob_sha256, 10, 20, hashlib.sha256(b"1").digest(),
    )  # fmt: skip
    row = AnchorRun.objects.get(id=run.id)
    assert (row.state, row.claimed_by, row.claimed_at, row.attempts) == ("running", "here", NOW, 1)


@pytest.mark.django_db(transaction=True)
def test_two_anchors_at_once_take_different_runs_and_neither_waits():
    batch = make_audited_batch(units=2)
    order(batch, 0, 1)
    taken = []

    def take() -> None:
        try:
            taken.append(claim_run("second", NOW))
        finally:
            connection.close()

    with transaction.atomic():
        taken.append(claim_run("first", NOW))
        other = threading.Thread(target=take)
        other.start()
        other.join(timeout=30)
        assert not other.is_alive()
    assert [run.unit_number for run in taken if run] == [0, 1]


def test_a_run_that_failed_is_tried_again_after_the_others_and_fails_for_good_after_the_last_try():
    batch = make_audited_batch(units=2)
    order(batch, 0)
    order(batch, 1, at=1)
    first = claim_run("a", NOW)
    assert first is not None
    assert fail_run(first, "a", reason="run_failed: why", now=NOW)
    other = claim_run("a", NOW)
    assert other is not None
    assert (first.unit_number, other.unit_number) == (0, 1)
    for attempt in range(2, ATTEMPTS_MAX + 1):
        again = claim_run("a", later(attempt))
        assert again is not None
        assert (again.unit_number, again.attempt) == (0, attempt)
        assert fail_run(again, "a", reason="run_failed: why", now=later(attempt))
    assert runs_of(batch)[0] == (0, "failed", ATTEMPTS_MAX, "run_failed: why")
    assert AnchorRun.objects.get(batch=batch, unit_number=0).done_at == later(ATTEMPTS_MAX)
    assert claim_run("a", later(10)) is None


def test_a_run_that_is_given_back_has_not_been_tried():
    batch = make_audited_batch()
    order(batch, 0)
    run = claim_run("a", NOW)
    assert run is not None
    assert give_back_run(run, "a")
    assert runs_of(batch) == [(0, "waiting", 0, "")]


def test_a_run_of_an_anchor_that_died_is_taken_again_and_the_late_one_changes_nothing():
    batch = make_audited_batch()
    order(batch, 0)
    lost = claim_run("dead", NOW)
    assert lost is not None
    until = LOST_GRACE_SECONDS + 2 * SECONDS
    assert release_lost_runs(later(until)) == 0
    assert release_lost_runs(later(until + 1)) == 1
    again = claim_run("alive", later(until + 2))
    assert again is not None
    assert (again.id, again.attempt) == (lost.id, 2)
    before = list(AnchorRun.objects.values())
    assert not finish_run(lost, "dead", sha256=SHA, comparison_class="c", seconds=1.0, now=later(until + 3))
    assert not fail_run(lost, "dead", reason="late", now=later(until + 3))
    assert not give_back_run(lost, "dead")
    assert list(AnchorRun.objects.values()) == before
    assert finish_run(again, "alive", sha256=SHA, comparison_class="c", seconds=1.0, now=later(until + 3))


def test_a_run_that_every_anchor_died_with_has_failed():
    batch = make_audited_batch()
    order(batch, 0)
    at = 0.0
    for _ in range(ATTEMPTS_MAX):
        assert claim_run("doomed", later(at)) is not None
        at += LOST_GRACE_SECONDS + 2 * SECONDS + 1
        assert release_lost_runs(later(at)) == 1
    assert runs_of(batch) == [(0, "failed", ATTEMPTS_MAX, "nothing more was heard of doomed")]
    assert claim_run("next", later(at)) is None


def test_an_anchor_lives_while_it_is_heard_of_and_can_run_units():
    assert not is_anchor_alive(NOW)
    note_machine("a", NOW, comparison_class="cpu")
    assert is_anchor_alive(NOW + ALIVE_FOR - timedelta(seconds=1))
    assert not is_anchor_alive(NOW + ALIVE_FOR)
    note_machine("a", later(60), problem="x" * 400)
    assert not is_anchor_alive(later(60))
    note_machine("b", later(60))
    assert is_anchor_alive(later(60))
    assert list(AnchorMachine.objects.order_by("name").values_list("name", "comparison_class", "problem")) == [
        ("a", "", "x" * 300),
        ("b", "", ""),
    ]


# -- runs --------------------------------------------------------------------------------------------------------


def test_a_unit_is_run_confined_and_its_output_becomes_a_replica_of_owner_0(folder: Path):
    batch = make_linear_batch(linear_model())
    order(batch, 1)
    assert run_next(worker="here", now=NOW)
    run = AnchorRun.objects.get(batch=batch)
    assert (run.state, run.attempts, run.claimed_by, run.error) == ("done", 1, "here", "")
    assert run.comparison_class.startswith("cpu-fp32-ort")
    assert run.done_at is not None
    assert run.done_at > NOW
    output = get_blob_store().read(run.output_blob)
    assert bytes(run.output_digest or b"") == hashlib.sha256(output).digest()
    assert Blob.objects.filter(sha256=run.output_blob, size_bytes=len(output)).exists()
    tensors, expected = load(output), input_rows(ROWS, seed=1) @ WEIGHTS
    np.testing.assert_allclose(tensors["logits"], expected, rtol=1e-5, atol=1e-6)
    assert [path.name for path in folder.iterdir()] == ["client"], "a run leaves nothing behind"
    machine = AnchorMachine.objects.get()
    assert (machine.name, machine.comparison_class, machine.problem) == ("here", run.comparison_class, "")
    assert not run_next(worker="here", now=NOW), "nothing else waits"
    assert resolve_anchor_runs(now=later(30))
    replica = Replica.objects.get(batch_id=batch.id, unit_number=1)
    assert (replica.owner_id, replica.vehicle_id, replica.role, replica.state) == (0, 0, 1, ReplicaState.VALID)
    assert replica.output_blob == run.output_blob


def test_a_unit_that_cannot_be_run_says_why_and_the_machine_goes_on():
    batch = make_linear_batch(b"no model", units=1)
    order(batch, 0)
    assert run_next(worker="here", now=NOW)
    ((unit, state, attempts, error),) = runs_of(batch)
    assert (unit, state, attempts) == (0, "waiting", 1)
    assert error.startswith("model_load_failed: ")
    assert is_anchor_alive(NOW)


def test_an_input_that_is_not_the_one_that_was_cut_is_not_run():
    batch = make_linear_batch(linear_model())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE unit SET byte_start = byte_start + 1 WHERE batch_id = %s", [batch.id])
    order(batch, 0)
    assert run_next(worker="here", now=NOW)
    assert runs_of(batch) == [(0, "waiting", 1, "The unit's input in the blob store is not the one that was cut.")]


def stand_in(folder: Path, check: str, run: str = "") -> tuple[str, ...]:
    """Return a command that answers `anchor check` and `anchor run` by the given Python code."""
    path = folder / "client.py"
    path.write_text(f"import sys, time\nif sys.argv[2] == 'check':\n    {check}\nelse:\n    {run or 'pass'}\n")
    return (sys.executable, str(path))


CHECKED = 'print(\'{"class": "c", "walls": {}}\')'


def test_a_machine_without_walls_takes_no_run_says_so_and_rests(tmp_path: Path, settings: Any):
    settings.FLEET_ANCHOR_COMMAND = stand_in(tmp_path, "sys.exit('fleetclient: seccomp is missing')")
    batch = make_audited_batch()
    order(batch, 0)
    assert not run_next(worker="here", now=NOW)
    assert runs_of(batch) == [(0, "waiting", 0, "")]
    assert AnchorMachine.objects.get().problem == "seccomp is missing"
    assert not is_anchor_alive(NOW)
    settings.FLEET_ANCHOR_COMMAND = stand_in(tmp_path, CHECKED)
    assert not run_next(worker="here", now=NOW + anchors.UNFIT_REST - timedelta(seconds=1))
    assert AnchorMachine.objects.get().problem == "seccomp is missing"
    assert run_next(worker="here", now=NOW + anchors.UNFIT_REST) is True


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("sys.exit('fleetclient: no model is run without its walls')", "no model is run without its walls"),
        ("print('[1]')", "The client's command has said nothing."),
        (
            'print(\'{"outcome": "failed", "reason": "disk_full", "detail": "no room"}\')',
            "disk_full: no room",
        ),
    ],
)
def test_what_is_this_machines_fault_is_another_ones_run(tmp_path: Path, settings: Any, said: str, problem: str):
    settings.FLEET_ANCHOR_COMMAND = stand_in(tmp_path, CHECKED, said)
    batch = make_linear_batch(linear_model())
    order(batch, 0)
    assert run_next(worker="here", now=NOW)
    assert runs_of(batch) == [(0, "waiting", 1, problem)]
    assert AnchorMachine.objects.get().problem == problem
    assert not run_next(worker="here", now=NOW), "it rests"
    assert runs_of(batch) == [(0, "waiting", 1, problem)]


def test_an_output_other_than_the_client_spoke_of_is_not_believed(tmp_path: Path, settings: Any):
    said = {"outcome": "done", "sha256": SHA, "class": "c", "seconds": 1}
    code = (
        "out = [a[9:] for a in sys.argv if a.startswith('--output=')][0]; open(out, 'w').write('other');"
        f" print({json.dumps(said)!r})"
    )
    settings.FLEET_ANCHOR_COMMAND = stand_in(tmp_path, CHECKED, code)
    batch = make_linear_batch(linear_model())
    order(batch, 0)
    run_next(worker="here", now=NOW)
    assert [run[1] for run in runs_of(batch)] == ["waiting"]
    assert "not the one that the client has spoken of" in AnchorMachine.objects.get().problem


def test_an_anchor_that_is_to_end_gives_its_run_back_and_ends_the_client(tmp_path: Path, settings: Any):
    settings.FLEET_ANCHOR_COMMAND = stand_in(tmp_path, CHECKED, "time.sleep(600)")
    batch = make_linear_batch(linear_model())
    order(batch, 0)
    assert run_next(worker="here", now=NOW, should_stop=lambda: True)
    assert runs_of(batch) == [(0, "waiting", 0, "")]
    assert is_anchor_alive(NOW)


def test_the_client_gets_none_of_the_servers_secrets(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLEET_TOKEN_KEY", "00" * 16)
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    code = "import os; print(__import__('json').dumps({'class': ' '.join(sorted(os.environ)), 'walls': {}}))"
    settings.FLEET_ANCHOR_COMMAND = stand_in(tmp_path, code)
    names = rerun.check_machine(anchors.get_client()).split()
    assert "PATH" in names
    assert not [name for name in names if name.startswith("FLEET") or "DATABASE" in name]


def test_the_command_runs_what_waits_and_ends(tmp_path: Path):
    batch = make_linear_batch(linear_model())
    order(batch, 0, 1)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        call_command("anchor", "--once", "--name=bench")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert [(run[0], run[1]) for run in runs_of(batch)] == [(0, "done"), (1, "done")]
    assert AnchorMachine.objects.get().name == "bench"


def test_the_command_says_what_this_machine_lacks(tmp_path: Path, settings: Any):
    settings.FLEET_ANCHOR_COMMAND = (str(tmp_path / "missing"),)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with pytest.raises(CommandError, match="The client's command cannot be run: "):
            call_command("anchor", "--once")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
