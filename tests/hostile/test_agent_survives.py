"""Hostile models handed to a whole runner as an agent would: the agent lives, and its next model runs as ever."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from safetensors.numpy import save

from bench.hostile.handmade import handmade
from fleetclient.runner.jobs import Job, RunnerExited, RunnerFailed, RunnerSettings, UnitDone, UnitFailed
from fleetclient.runner.process import Runner
from fleetclient.wire.contract import read_contract
from tests.client.support import contract_document, input_rows, is_running, linear_model, wait_until

ATTACKS = handmade(0, "/etc/passwd")
CHOSEN = (
    "external data 6 '/etc/passwd'", "external data of the agent's memory", "64 GiB that are folded away",
    "an endless loop of constants", "branches five hundred deep", "a tree that bites its tail",
    "code for an accelerator (com.microsoft)", "a function that calls itself", "groups without end",
)  # fmt: skip


def run_one(folder: Path, model: bytes) -> str:
    """Give a model and a unit to a runner; return how it ended: `done`, a reason, or the reason of a crash."""
    (folder / "model").write_bytes(model)
    (folder / "unit.in").write_bytes(save({"x": input_rows(8)}))
    contract = read_contract(contract_document(model, seconds=2))
    runner = Runner(
        RunnerSettings(model_path=folder / "model", contract=contract, memory_bytes=300_000_000), folder=folder
    )
    runner.submit(
        Job(token="unit", rows=8, salt="00" * 16, input_digest=hashlib.sha256(b"").hexdigest(),
            input_path=folder / "unit.in", output_path=folder / "unit.out")
    )  # fmt: skip
    heard: list[object] = []
    ends = (UnitDone, UnitFailed, RunnerFailed, RunnerExited)
    try:
        wait_until(lambda: any(isinstance(e, ends) for e in heard), also=lambda: heard.extend(runner.poll()))
    finally:
        runner.kill()
    assert not is_running(runner.pid)
    end = next(event for event in heard if isinstance(event, ends))
    return "done" if isinstance(end, UnitDone) else str(end.reason)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_hostile_model_harms_nothing_and_the_next_one_runs(tmp_path: Path, name: str) -> None:
    assert run_one(tmp_path, ATTACKS[name]) in {
        "model_load_failed", "run_failed", "out_of_memory", "processor_time", "fault", "abort", "memory",
    }  # fmt: skip
    assert not (tmp_path / "unit.out").exists()
    assert run_one(tmp_path, linear_model()) == "done"
