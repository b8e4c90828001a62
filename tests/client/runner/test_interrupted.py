"""A unit that was interrupted ends with the very bytes of one that was not, and does no finished row again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleetclient.runner import checkpoints
from fleetclient.runner.jobs import RunnerExited, UnitDone, UnitFailed, UnitProgress, UnitStarted
from tests.client.runner.support import Bench, Make
from tests.client.support import CLIENT_ROOT, contract_of, is_running, process_state, slow_model, wait_until

ROWS = 800
# A runner that sleeps for most of the time: it is still at work when a test that was held up comes to interrupt it.
SPEED = 0.01
PROJECT_ROOT = CLIENT_ROOT.parent
# An agent that gives one unit to one runner and says how far it is; to be killed.
AGENT = """
import sys
from pathlib import Path
from tests.client.runner.support import Bench
from tests.client.support import slow_model
from fleetclient.runner.jobs import UnitDone, UnitProgress
bench = Bench(Path(sys.argv[1]), slow_model(), {"speed": float(sys.argv[3])}, {"batch_rows": 4})
print(bench.runner.pid, flush=True)
bench.submit(rows=int(sys.argv[2]))
while not isinstance(bench.hear(UnitDone, UnitProgress), UnitDone):
    print("progress", flush=True)
"""


def uninterrupted(bench: Make) -> bytes:
    work = fast(bench)
    work.submit("whole", rows=ROWS)
    work.hear(UnitDone)
    return (work.folder / "whole.out").read_bytes()


def slow(bench: Make) -> Bench:
    return bench(slow_model(), speed=SPEED, limits={"batch_rows": 4})


def fast(bench: Make) -> Bench:
    return bench(slow_model(), limits={"batch_rows": 4})


def hear_batches(work: Bench, count: int) -> None:
    for _ in range(count):
        assert isinstance(work.hear(UnitProgress, UnitDone), UnitProgress), "the unit is too short for this test"


def kill_agent_after(folder: Path, batches: int) -> None:
    """Run a whole agent on the unit, kill it after so many batches, and wait until its runner is gone too."""
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT_ROOT}{os.pathsep}{CLIENT_ROOT}"}
    command = [sys.executable, "-c", AGENT, str(folder), str(ROWS), str(SPEED)]
    with subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        runner_pid = int(agent.stdout.readline())
        for _ in range(batches):
            assert agent.stdout.readline() == "progress\n"
        agent.kill()
    wait_until(lambda: not is_running(runner_pid))


def test_ten_interruptions_of_all_kinds_leave_the_output_byte_for_byte_the_same(bench: Make, tmp_path: Path) -> None:
    expected = uninterrupted(bench)
    chance = random.Random(20)
    kinds = ["kill", "freeze", "kill agent", "kill", "freeze", "kill", "kill agent", "freeze", "kill", "kill"]
    part, done_before = tmp_path / "unit.part", 0
    work = slow(bench)
    work.submit(rows=ROWS)
    for number, kind in enumerate(kinds, 1):
        if kind == "freeze":
            hear_batches(work, chance.randint(1, 3))
            work.runner.stop()
            wait_until(lambda: process_state(work.runner.pid) == "T")  # noqa: B023 - waited for here
            work.runner.resume()
            continue
        if kind == "kill agent":
            work.runner.kill()
            kill_agent_after(tmp_path, chance.randint(2, 4))
        else:
            hear_batches(work, chance.randint(2, 4))  # the first is what was kept
            work.runner.kill()
        assert not (tmp_path / "unit.out").exists(), "the unit is too short for this test"
        assert done_before < checkpoints.rows_done(part) < ROWS
        done_before = checkpoints.rows_done(part)
        work = slow(bench) if number < len(kinds) else fast(bench)
        work.submit(rows=ROWS)
    work.hear(UnitDone)
    assert (tmp_path / "unit.out").read_bytes() == expected
    assert not part.exists()


def test_a_resumed_unit_starts_with_the_row_after_the_last_one_kept(bench: Make) -> None:
    first = slow(bench)
    first.submit(rows=ROWS)
    hear_batches(first, 3)
    first.runner.kill()
    kept = checkpoints.rows_done(first.folder / "unit.part")
    assert kept >= 12
    again = fast(bench)
    again.submit(rows=ROWS)
    progress = again.hear(UnitProgress)
    assert isinstance(progress, UnitProgress)
    assert progress.rows_done == kept
    done = again.hear(UnitDone)
    assert isinstance(done, UnitDone)
    assert done.cpu_seconds > 0


@pytest.mark.parametrize("harm", ["torn", "flipped", "extended"])
def test_a_harmed_tail_is_cut_off_and_its_rows_are_done_again(bench: Make, tmp_path: Path, harm: str) -> None:
    expected = uninterrupted(bench)
    work = slow(bench)
    work.submit(rows=ROWS)
    hear_batches(work, 3)
    work.runner.kill()
    part = tmp_path / "unit.part"
    content, kept = bytearray(part.read_bytes()), checkpoints.rows_done(part)
    if harm == "torn":
        del content[-5:]
    elif harm == "flipped":
        content[-5] ^= 1
    else:
        content += b"\xff" * 11
    part.write_bytes(content)
    assert (checkpoints.rows_done(part) == kept) == (harm == "extended")
    assert checkpoints.rows_done(part) <= kept
    again = fast(bench)
    again.submit(rows=ROWS)
    again.hear(UnitDone)
    assert (tmp_path / "unit.out").read_bytes() == expected


def test_rows_of_another_lease_or_contract_are_not_taken_over(bench: Make, tmp_path: Path) -> None:
    work = slow(bench)
    work.submit(rows=ROWS)
    hear_batches(work, 4)
    work.runner.kill()
    kept = checkpoints.rows_done(tmp_path / "unit.part")
    foreign = (tmp_path / "unit.part").read_bytes()
    (tmp_path / "other.part").write_bytes(foreign)
    other = slow(bench)
    other.submit("other", rows=ROWS)
    assert checkpoints.rows_done(tmp_path / "other.part") == kept
    progress = other.hear(UnitProgress)
    assert isinstance(progress, UnitProgress)
    assert progress.rows_done < kept, "rows of another lease were kept"
    assert checkpoints.read_fingerprint(os.open(tmp_path / "other.part", os.O_RDONLY)) != foreign[8:40]


def test_a_unit_that_was_dropped_while_it_waited_is_not_run(bench: Make, tmp_path: Path) -> None:
    work = slow(bench)
    work.submit("first", rows=ROWS)
    work.submit("second", rows=ROWS)
    work.hear(UnitStarted)
    (tmp_path / "second.in").unlink()
    work.runner.cancel("first")
    failed = work.hear(UnitFailed)
    assert isinstance(failed, UnitFailed)
    assert failed.token == "first"
    failed = work.hear(UnitFailed)
    assert isinstance(failed, UnitFailed)
    assert (failed.token, failed.detail) == ("second", "Cancelled: the agent does not want it any more")
    assert not (tmp_path / "second.out").exists()


def test_an_input_that_is_not_there_fails_the_unit_and_not_the_runner(bench: Make, tmp_path: Path) -> None:
    work = bench()
    work.submit("gone", rows=4, write=False)
    failed = work.hear(UnitFailed)
    assert isinstance(failed, UnitFailed)
    assert (failed.token, failed.reason) == ("gone", "run_failed")
    work.submit("there")
    assert work.hear(UnitDone).token == "there"  # type: ignore[union-attr]


def test_a_link_in_the_place_of_an_output_is_not_followed(bench: Make, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (tmp_path / "unit.part").symlink_to(outside)
    work = bench()
    work.submit()
    assert isinstance(work.hear(UnitFailed), UnitFailed)
    assert outside.read_bytes() == b"precious"


def test_all_threads_of_a_stopped_runner_stand_still(bench: Make) -> None:
    work = bench(slow_model(), limits={"batch_rows": 4}, threads=2)
    work.submit(rows=100_000)
    work.hear(UnitProgress)
    work.runner.stop()
    tasks = Path(f"/proc/{work.runner.pid}/task")
    wait_until(lambda: all(_state(task) == "T" for task in tasks.iterdir()))
    assert len(list(tasks.iterdir())) >= 3, "the model's second thread and the one that forces to disk are missing"
    before = [_ticks(task) for task in tasks.iterdir()]
    deadline = os.times().elapsed + 0.5
    while os.times().elapsed < deadline:
        pass
    assert [_ticks(task) for task in tasks.iterdir()] == before
    work.runner.resume()
    work.hear(UnitProgress)


def test_a_crash_says_its_reason(bench: Make) -> None:
    work = slow(bench)
    work.submit(rows=ROWS)
    work.hear(UnitProgress)
    os.kill(work.runner.pid, signal.SIGSEGV)
    exited = work.hear(RunnerExited)
    assert isinstance(exited, RunnerExited)
    assert (exited.returncode, exited.reason) == (-signal.SIGSEGV, "fault")


def test_the_partial_output_of_a_cheat_is_honest_and_a_lie_is_the_same_after_a_restart(bench: Make) -> None:
    cheat = {"fault": "wrong", "fault_seed": 1, "limits": {"batch_rows": 4}}
    whole = bench(slow_model(), **cheat)
    whole.submit("whole", rows=ROWS)
    whole.hear(UnitDone)
    work = bench(slow_model(), speed=SPEED, **cheat)
    work.submit(rows=ROWS)
    hear_batches(work, 2)
    work.runner.kill()
    again = bench(slow_model(), **cheat)
    again.submit(rows=ROWS)
    again.hear(UnitDone)
    assert (work.folder / "unit.out").read_bytes() == (work.folder / "whole.out").read_bytes()


def _state(task: Path) -> str:
    return (task / "stat").read_text().rsplit(")", 1)[1].split()[0]


def _ticks(task: Path) -> tuple[str, str]:
    fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
    return fields[11], fields[12]


def test_a_contract_of_another_batch_size_has_another_fingerprint() -> None:
    def of(rows: int, runtime: str = "1") -> bytes:
        contract = contract_of(slow_model(), batch_rows=rows)
        return checkpoints.fingerprint(contract, token="t", rows=8, input_digest="d", runtime=runtime)

    assert len({of(4), of(8), of(4, runtime="2")}) == 3
    assert of(4) == of(4)
