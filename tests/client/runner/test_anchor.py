"""`anchor check` and `anchor run`: an operator's machine runs a unit as a car would."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save

from fleetclient.cli import main
from fleetclient.runner.jobs import Job, RunnerSettings, UnitDone
from fleetclient.runner.once import run_once
from fleetclient.runner.walls import WallsReport
from fleetclient.selftest.graphs import GRAPHS, ROWS, Graph, write_files
from fleetclient.wire.contract import dump_contract
from tests.client.runner.support import SALT, Make
from tests.client.support import contract_of, endless_model, input_rows, is_running, linear_model, wait_until


def prepare(folder: Path, model: bytes, *, rows: int = 10, **limits: int) -> list[str]:
    """Write a unit's files; return the command's arguments."""
    contract = contract_of(model, **limits)
    (folder / "contract").write_text(json.dumps(dump_contract(contract)))
    (folder / "model.onnx").write_bytes(model)
    (folder / "input").write_bytes(save({"x": input_rows(rows)}))
    names = {"contract": "contract", "model": "model.onnx", "input": "input", "output": "anchor.out"}
    files = [f"--{name}={folder / file}" for name, file in names.items()]
    return ["anchor", "run", *files, f"--rows={rows}", f"--set=state_dir={folder / 'state'}"]


def run(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, dict[str, Any], str]:
    code = main(arguments)
    printed = capsys.readouterr()
    return code, json.loads(printed.out or "{}"), printed.err


def test_its_output_digest_and_sketch_are_those_of_a_car(
    tmp_path: Path, bench: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {"batch_rows": 4, "inline_bytes_max": 100}
    car = bench(limits=limits)
    car.submit(rows=10)
    done = car.hear(UnitDone)
    assert isinstance(done, UnitDone)
    arguments = prepare(tmp_path, linear_model(), **limits)
    code, told, _ = run(capsys, [*arguments, f"--salt={SALT}"])
    document = (tmp_path / "unit.out").read_bytes()
    assert (code, told["outcome"], told["bytes"]) == (0, "done", len(document))
    assert (tmp_path / "anchor.out").read_bytes() == document
    assert told["sha256"] == hashlib.sha256(document).hexdigest()
    assert (told["digest"], told["sketch"]) == (done.digest, done.sketch)
    assert told["class"].startswith("cpu-fp32-ort")
    assert told["seconds"] >= 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("runner-")]


@pytest.mark.parametrize(
    ("model", "limits", "reason"),
    [
        (b"no model", {}, "model_load_failed"),
        (linear_model(), {"output_bytes_max": 50}, "output_too_large"),
        (endless_model(), {"seconds": 1}, "timed_out"),
    ],
)
def test_a_unit_that_cannot_be_run_fails_with_the_reason_that_a_car_would_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: bytes, limits: dict[str, int], reason: str
) -> None:
    code, told, _ = run(capsys, prepare(tmp_path, model, **limits))
    assert (code, told["outcome"], told["reason"]) == (1, "failed", reason)
    assert not (tmp_path / "anchor.out").exists()


def test_without_walls_nothing_is_run_and_nothing_is_blamed_on_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = WallsReport(reason_refused="seccomp is missing", walls={})
    monkeypatch.setattr("fleetclient.runner.walls.check_walls", lambda *_, **__: refused)
    code, told, said = run(capsys, prepare(tmp_path, linear_model()))
    assert (code, told) == (1, {})
    assert said == "fleetclient: no model is run without its walls: seccomp is missing\n"
    assert not (tmp_path / "anchor.out").exists()


def test_a_contract_that_cannot_be_read_is_no_fault_of_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = prepare(tmp_path, linear_model())
    (tmp_path / "contract").write_text("{}")
    code, told, said = run(capsys, arguments)
    assert (code, told) == (1, {})
    assert said == "fleetclient: model is not an object\n"


def test_the_check_tells_the_class_and_the_walls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["anchor", "check", "--json", f"--set=state_dir={tmp_path}"]
    code, told, _ = run(capsys, arguments)
    assert (code, told["walls"]["seccomp"]) == (0, True)
    assert "-i8" in told["class"], "the self-test, which alone knows this part, was made"
    assert run(capsys, arguments)[1] == told


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    arguments = prepare(tmp_path, endless_model(), seconds=600)
    script = (
        "import subprocess, sys, time; "
        "print(subprocess.Popen([sys.executable, '-m', 'fleetclient', *sys.argv[1:]]).pid, flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    with starter:
        pid = int(starter.stdout.readline())
        wait_until(lambda: bool(children_of(pid)))
        runner = children_of(pid)[0]
        os.kill(starter.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid) and not is_running(runner))


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_of_a_real_network_it_makes_what_a_car_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], graph: Graph
) -> None:
    model, contract = write_files(graph, tmp_path)
    (tmp_path / "input").write_bytes(graph.file("inputs.safetensors"))
    settings = RunnerSettings(
        model_path=model, contract=contract, memory_bytes=contract.limits.memory_bytes, walls_off=("idle_priority",)
    )
    job = Job(
        token="car", rows=ROWS, salt=SALT, input_digest="00" * 32,
        input_path=tmp_path / "input", output_path=tmp_path / "car.out",
    )  # fmt: skip
    done = run_once(settings, job, folder=tmp_path)
    assert isinstance(done, UnitDone)
    (tmp_path / "contract").write_text(json.dumps(dump_contract(contract)))
    files = {"contract": "contract", "model": model.name, "input": "input", "output": "anchor.out"}
    arguments = [f"--{name}={tmp_path / file}" for name, file in files.items()]
    state = f"--set=state_dir={tmp_path / 'state'}"
    code, told, _ = run(capsys, ["anchor", "run", *arguments, f"--rows={ROWS}", f"--salt={SALT}", state])
    assert (code, told["digest"]) == (0, done.digest)
    assert (tmp_path / "anchor.out").read_bytes() == (tmp_path / "car.out").read_bytes()
