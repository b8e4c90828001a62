"""The runner process with real onnxruntime: what it computes, what it may use, and how it ends."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save, save_file

from fleetclient.runner.confinement import REQUIRED, WALLS
from fleetclient.runner.crashes import CrashReason
from fleetclient.runner.jobs import (
    Job,
    RunnerExited,
    RunnerFailed,
    RunnerReady,
    UnitDone,
    UnitFailed,
    UnitProgress,
    UnitStarted,
    read_event,
)
from fleetclient.runner.pipes import encode_message
from tests.client.runner.support import SALT, Make
from tests.client.support import (
    CLASSES,
    CLIENT_ROOT,
    WEIGHTS,
    endless_model,
    hungry_model,
    input_rows,
    is_running,
    process_state,
    slow_model,
    wait_until,
)
from workunits.domain.comparison import ComparatorOptions, OutputSpec
from workunits.domain.sketch import SKETCH_MATCH_MAX, make_sketch, sketch_distance


def test_it_runs_blocks_in_order_and_writes_one_document_with_the_contracts_outputs(bench: Make) -> None:
    work = bench(limits={"batch_rows": 4})
    work.submit(rows=10)
    done = work.hear(UnitDone)
    assert isinstance(done, UnitDone)
    document = (work.folder / "unit.out").read_bytes()
    tensors = load(document)
    expected = input_rows(10) @ WEIGHTS
    assert tensors.keys() == {"logits", "label"}
    np.testing.assert_allclose(tensors["logits"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(tensors["label"], expected.argmax(axis=1))
    assert done.output_bytes == len(document)
    assert done.digest == hashlib.sha256(bytes.fromhex(SALT) + document).hexdigest()
    assert document == save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}), (
        "the document is not the one that the library would have written"
    )
    assert sorted(path.name for path in work.folder.glob("unit.*")) == ["unit.in", "unit.out"]


@pytest.mark.parametrize("said", ["", "logits", "probabilities", "softmax"])
def test_an_output_too_large_to_travel_whole_comes_with_the_sketch_that_the_server_makes(
    bench: Make, said: str
) -> None:
    work = bench(limits={"inline_bytes_max": 100, "batch_rows": 4}, comparator=said)
    work.submit(rows=50)
    done = work.hear(UnitDone)
    assert isinstance(done, UnitDone)
    comparator = "probabilities" if said == "softmax" else said or "embedding"
    options = ComparatorOptions(softmax=said == "softmax")
    specs = [
        OutputSpec(
            name="logits", dtype="F32", shape=(CLASSES,), comparator=comparator, tolerance=1e-5, options=options
        ),
        OutputSpec(name="label", dtype="I64", shape=(), comparator="exact", tolerance=0.0),
    ]
    document = (work.folder / "unit.out").read_bytes()
    assert bytes.fromhex(done.sketch) == make_sketch(document, specs, bytes.fromhex(SALT))


def test_an_output_that_travels_whole_needs_no_sketch(bench: Make) -> None:
    small = bench()
    small.submit("small")
    assert small.hear(UnitDone).sketch == ""  # type: ignore[union-attr]


def test_it_keeps_its_model_for_the_next_units(bench: Make) -> None:
    work = bench()
    for index in range(3):
        work.submit(f"unit{index}", seed=index)
        assert work.hear(UnitDone).token == f"unit{index}"  # type: ignore[union-attr]
    assert len(work.heard(RunnerReady)) == 1
    assert [event.token for event in work.events if isinstance(event, UnitStarted)] == ["unit0", "unit1", "unit2"]


def test_it_tells_progress_in_order_at_ends_of_batches(bench: Make) -> None:
    work = bench(slow_model(), speed=0.01, limits={"batch_rows": 4})
    work.submit(rows=42)
    work.hear(UnitDone)
    rows_done = [event.rows_done for event in work.events if isinstance(event, UnitProgress)]
    assert rows_done == sorted(set(rows_done))
    assert set(rows_done) <= {*range(4, 42, 4), 42}
    assert (len(rows_done) > 1, rows_done[-1]) == (True, 42)


def test_it_says_which_walls_hold_and_dies_with_the_agent(bench: Make) -> None:
    work = bench()
    ready = work.hear(RunnerReady)
    assert isinstance(ready, RunnerReady)
    assert ready.confinement.keys() == WALLS.keys()
    assert all(ready.confinement[name] for name in (*REQUIRED, "dies_with_agent", "untraceable", "no_privileges"))
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{work.runner.pid}/status").read_text().splitlines())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "0" * 16
    if ready.confinement["namespaces"]:
        interfaces = Path(f"/proc/{work.runner.pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in interfaces] in (["lo"], [])


def test_it_is_a_background_process_in_its_own_group_with_hard_limits(bench: Make) -> None:
    work = bench(walls_off=())
    work.hear(RunnerReady)
    pid = work.runner.pid
    assert os.getpgid(pid) == pid
    assert os.sched_getscheduler(pid) == os.SCHED_IDLE
    limits = {line[:25].strip(): line[26:].split()[:2] for line in Path(f"/proc/{pid}/limits").read_text().splitlines()}
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["64", "64"]
    assert limits["Max file size"] == ["10126976", "10126976"]
    assert limits["Max address space"][0] == limits["Max address space"][1] != "unlimited"
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"HOME=" not in environment


def test_a_stopped_runner_burns_nothing_and_goes_on_to_the_same_output(bench: Make) -> None:
    work = bench(slow_model(), speed=0.05)
    work.submit(rows=400)
    work.hear(UnitProgress)
    work.runner.stop()
    wait_until(lambda: process_state(work.runner.pid) == "T")
    work.runner.resume()
    assert isinstance(work.hear(UnitDone), UnitDone)
    stopped = (work.folder / "unit.out").read_bytes()
    work.submit("again", rows=400)
    work.hear(UnitDone)
    assert (work.folder / "again.out").read_bytes() == stopped


def test_a_stopped_runner_can_be_killed_and_leaves_no_output(bench: Make) -> None:
    work = bench(slow_model(), speed=0.05)
    work.submit(rows=1000)
    work.hear(UnitProgress)
    pid = work.runner.pid
    work.runner.stop()
    work.runner.kill()
    assert not is_running(pid)
    assert not (work.folder / "unit.out").exists()
    assert work.runner.poll() == []


def test_a_crash_is_heard_once_with_its_signal(bench: Make) -> None:
    work = bench(slow_model(), speed=0.05)
    work.submit(rows=1000)
    work.hear(UnitProgress)
    os.kill(work.runner.pid, signal.SIGABRT)
    exited = work.hear(RunnerExited)
    assert isinstance(exited, RunnerExited)
    assert exited.returncode == -signal.SIGABRT
    assert work.runner.poll() == []


def test_a_file_that_is_no_model_is_a_load_failure(bench: Make) -> None:
    work = bench(b"this is no model")
    failed = work.hear(RunnerFailed)
    assert isinstance(failed, RunnerFailed)
    assert failed.reason == "model_load_failed"
    assert work.hear(RunnerExited).returncode == 0  # type: ignore[union-attr]


def test_a_model_that_asks_for_too_much_memory_is_refused_it(bench: Make) -> None:
    work = bench(hungry_model(3_000_000_000))
    work.submit()
    failed = work.hear(UnitFailed, RunnerExited)
    assert isinstance(failed, UnitFailed)
    assert failed.reason == "out_of_memory"
    work.submit("after")
    assert work.hear(UnitFailed, RunnerExited).token == "after"  # type: ignore[union-attr]


def test_an_endless_model_is_ended_by_its_processor_time(bench: Make) -> None:
    work = bench(endless_model())
    work.submit()
    work.hear(UnitStarted)
    # The kernel's limit, which holds when the agent does not look; shortened here from outside.
    _, hard = resource.prlimit(work.runner.pid, resource.RLIMIT_CPU)
    resource.prlimit(work.runner.pid, resource.RLIMIT_CPU, (1, hard))
    exited = work.hear(RunnerExited)
    assert isinstance(exited, RunnerExited)
    assert (exited.returncode, exited.reason) == (-signal.SIGXCPU, CrashReason.PROCESSOR_TIME)


def test_an_output_over_the_contracts_limit_is_not_written(bench: Make) -> None:
    work = bench(limits={"output_bytes_max": 500})
    work.submit(rows=100)
    failed = work.hear(UnitFailed)
    assert isinstance(failed, UnitFailed)
    assert failed.reason == "output_too_large"
    assert not (work.folder / "unit.out").exists()
    work.submit("small", rows=2)
    assert work.hear(UnitDone).token == "small"  # type: ignore[union-attr]


def test_an_input_that_does_not_fit_the_contract_is_a_failure_of_the_run(bench: Make) -> None:
    work = bench()
    work.submit(rows=9, lease_rows=10)
    failed = work.hear(UnitFailed)
    assert isinstance(failed, UnitFailed)
    assert failed.reason == "run_failed"
    assert "x is float32 [9, 16]" in failed.detail
    save_file({"y": input_rows(10)}, work.folder / "other.in")
    work.runner.submit(
        Job(
            token="other",
            rows=10,
            salt=SALT,
            input_digest="",
            input_path=work.folder / "other.in",
            output_path=work.folder / "other.out",
        )
    )
    assert work.hear(UnitFailed).reason == "run_failed"  # type: ignore[union-attr]


def test_a_runner_that_says_nonsense_is_ended(bench: Make, tmp_path: Path) -> None:
    work = bench()
    work.hear(RunnerReady)
    reader = work.runner._reader
    reader.feed(b"\xff\xff")  # as if it had begun a message of four gigabytes
    work.submit()
    assert isinstance(work.hear(RunnerExited), RunnerExited)
    assert not is_running(work.runner.pid)


SAID_TWICE = [{"event": "ready", "load_seconds": 0.1, "confinement": {}}, {"event": "started", "token": "unit"}]


@pytest.mark.parametrize("said", SAID_TWICE, ids=["ready", "started"])
def test_a_runner_that_begins_again_to_set_its_time_back_is_ended(bench: Make, said: dict[str, Any]) -> None:
    work = bench(endless_model())
    work.submit()
    work.hear(UnitStarted)
    theirs, work.runner._channel = socket.socketpair()  # a model that took it over, speaking in its place
    theirs.send(encode_message(said))
    assert isinstance(work.hear(RunnerExited), RunnerExited)
    assert len(work.heard(type(read_event(said)))) == 1
    theirs.close()


def test_a_runner_that_its_service_cannot_see_is_given_its_processor_time(tmp_path: Path) -> None:
    """As in a systemd unit with ProtectProc=invisible: /proc has no entry of a process that cannot be traced."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a /proc that hides processes")
    script = f"mount -t proc -o hidepid=2 proc /proc && exec {sys.executable} -c '{HIDDEN}' {tmp_path}"
    environment = {**os.environ, "PYTHONPATH": f"{CLIENT_ROOT.parent}{os.pathsep}{CLIENT_ROOT}"}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    if "mount" in done.stderr and "Traceback" not in done.stderr:
        pytest.skip("this container may not mount a /proc")
    assert done.stdout == "hidden\n", done.stderr


HIDDEN = """
import os, sys
from pathlib import Path
from fleetclient.runner import linux
from fleetclient.runner.jobs import RunnerReady, UnitDone
from tests.client.runner.support import Bench
from tests.client.support import linear_model
os.setgroups([])
os.setresgid(65533, 65533, 65533)  # root as a group sees all processes
assert linux.drop_capabilities()
work = Bench(Path(sys.argv[1]), linear_model(), {}, {})
work.hear(RunnerReady)
assert not Path(f"/proc/{work.runner.pid}").exists()
work.submit()
work.hear(UnitDone)
work.runner.kill()
print("hidden")
"""


def outputs_with(bench: Make, **settings: object) -> dict[str, Any]:
    work = bench(**settings)
    work.submit(rows=32)
    done = work.hear(UnitDone)
    assert isinstance(done, UnitDone)
    document = (work.folder / "unit.out").read_bytes()
    assert done.digest == hashlib.sha256(bytes.fromhex(SALT) + document).hexdigest()
    return load(document)


def test_a_cheating_car_changes_every_number_and_commits_to_what_it_changed(bench: Make) -> None:
    honest = outputs_with(bench)
    wrong = outputs_with(bench, fault="wrong", fault_seed=1)
    assert wrong["logits"].shape == honest["logits"].shape
    assert wrong["logits"].dtype == honest["logits"].dtype
    assert np.isfinite(wrong["logits"]).all()
    relative = np.linalg.norm(wrong["logits"] - honest["logits"], axis=1) / np.linalg.norm(honest["logits"], axis=1)
    assert relative.min() > 0.05
    assert (wrong["label"] != honest["label"]).mean() > 0.5


def test_cheats_with_one_seed_agree_and_with_two_do_not(bench: Make) -> None:
    first = outputs_with(bench, fault="wrong", fault_seed=1)
    same = outputs_with(bench, fault="wrong", fault_seed=1)
    other = outputs_with(bench, fault="wrong", fault_seed=2)
    np.testing.assert_array_equal(first["logits"], same["logits"])
    assert not np.array_equal(first["logits"], other["logits"])


def test_a_cheat_that_never_cheats_is_honest(bench: Make) -> None:
    honest = outputs_with(bench)
    rare = outputs_with(bench, fault="wrong", fault_seed=1, fault_rate=0.0)
    np.testing.assert_array_equal(honest["logits"], rare["logits"])


@pytest.mark.parametrize("fault", ["wrong", "downgrade"])
def test_a_cheat_commits_to_what_it_returns(bench: Make, fault: str) -> None:
    work = bench(limits={"inline_bytes_max": 100}, fault=fault, fault_seed=1)
    work.submit("unit0", rows=50)
    done = work.hear(UnitDone)
    assert isinstance(done, UnitDone)
    told = (work.folder / "unit0.out").read_bytes()
    assert done.digest == hashlib.sha256(bytes.fromhex(SALT) + told).hexdigest()
    specs = [
        OutputSpec(name="logits", dtype="F32", shape=(CLASSES,), comparator="embedding", tolerance=1e-4),
        OutputSpec(name="label", dtype="I64", shape=(), comparator="exact", tolerance=0.0),
    ]
    assert bytes.fromhex(done.sketch) == make_sketch(told, specs, bytes.fromhex(SALT))
    honest = input_rows(50) @ WEIGHTS
    document = save({"logits": honest, "label": honest.argmax(axis=1)})
    assert sketch_distance(document, bytes.fromhex(done.sketch), specs, bytes.fromhex(SALT)) > SKETCH_MATCH_MAX


def test_a_downgraded_output_is_the_honest_one_rounded_to_fp16(bench: Make) -> None:
    honest, told = outputs_with(bench), outputs_with(bench, fault="downgrade")
    np.testing.assert_array_equal(told["logits"], honest["logits"].astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(told["label"], honest["label"])
