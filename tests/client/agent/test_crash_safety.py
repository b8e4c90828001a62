"""`kill -9` at every step of download, run, spool, upload, report, and a restart: nothing wrong, nothing doubled.

A chain is one car that dies at one fail point after the other, each time in the next process, over one set of units.
"""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetclient.failpoints import FAIL_POINTS
from fleetclient.runner.checkpoints import rows_done
from tests.client.fake_fleet import FakeFleet
from tests.client.support import (
    CarProcess,
    KeepAll,
    add_slow_units,
    add_units,
    assert_all_right,
    assert_output_is_right,
    linear_model,
    wait_until,
)

MakeProcess = Callable[..., CarProcess]
# Most of the time is slept, so that a unit takes some seconds on a quiet machine as on a busy one.
SLOW = "[simulation]\nspeed = 0.05\n"
SMALL, LARGE = 8, 2
# Short absences of known length, every second of an agent's life.
AWAY = str([[second + 0.6, second + 0.8] for second in range(60)])

CHAINS = {
    "who it is": [
        f"{window}@{subject}"
        for subject in ("/vehicle.json", "/counter", "/usage.json")
        for window in ("file_written", "file_synced", "file_renamed")
    ],
    "down": [
        "sync_built",
        "sync_answered",
        "journal_uncommitted",
        "leases_journaled",
        "download_started",
        "download_chunk_written",
        "download_complete",
        "file_synced@/models/",
        "file_renamed@/models/",
        "input_received",
        "file_written@/inputs/",
        "file_synced@/inputs/",
        "file_renamed@/inputs/",
        "input_fetched",
        "model_admitted",  # the second model: the first one has its name by now
    ],
    "run": [
        "runner_started",
        "unit_given",
        "unit_started",
        "block_done",
        "block_done:2",
        "file_synced@/outputs/",
        "file_renamed@/outputs/",
        "output_written",
        "result_journaled",
        "result_kept",
        "usage_reserved",
    ],
    "up": [
        "settled_journaled",
        "upload_journaled",
        "upload_offset_known",
        "upload_chunk_sent",
        "upload_chunk_sent:2",
        "upload_finished",
        "upload_forgotten",
    ],
}
# These need a car that leaves, an owner who speaks, or a server that has it keep a result; their tests are below.
ELSEWHERE = {"brake_pressed", "return_journaled", "return_dropped", "control_written", "keep_journaled"}


def padded_model() -> bytes:
    """The linear model, made larger by its document string (field 6, 700,000 bytes)."""
    return linear_model() + b"\x32\xe0\xdc\x2a" + b"p" * 700_000


def add_all_units(fleet: FakeFleet) -> None:
    add_units(fleet, SMALL)
    # Another model, and outputs large enough for two pieces on the way to the server.
    add_units(fleet, LARGE, rows=30_000, model=padded_model(), batch_rows=10_000, inline_bytes_max=1000)


def assert_nothing_wrong_or_doubled(fleet: FakeFleet) -> None:
    assert fleet.count("stored") == SMALL + LARGE
    for seed, unit in enumerate(fleet.units):
        assert_output_is_right(unit, seed if seed < SMALL else seed - SMALL)
    assert len(fleet.replicas) == SMALL + LARGE, "a unit was leased twice: the first lease was forgotten"
    assert fleet.hand_backs == []
    committed: dict[str, set[str]] = defaultdict(set)
    for sync in fleet.syncs:
        for item in sync["commitments"]:
            committed[item["token"]].add(item["digest"])
    assert {token: len(digests) for token, digests in committed.items()} == dict.fromkeys(fleet.replicas, 1)


def kept_rows(process: CarProcess) -> dict[str, int]:
    """Rows that partial outputs hold, by the beginning of the token as it stands in the log."""
    return {path.stem[:8]: rows_done(path) for path in (process.state / "outputs").glob("*.part")}


def heard_rows(process: CarProcess) -> dict[str, int]:
    """Rows that the agents have heard of as done."""
    heard: Counter[str] = Counter()
    for event in process.events("block_done"):
        heard[event["token"]] = max(heard[event["token"]], event["rows_done"])
    return heard


def test_every_fail_point_is_passed_by_one_of_the_tests() -> None:
    named = {point.partition("@")[0].partition(":")[0] for chain in CHAINS.values() for point in chain}
    assert named | ELSEWHERE == set(FAIL_POINTS)


@pytest.mark.parametrize(
    "chain", ["run", *(pytest.param(chain, marks=pytest.mark.slow) for chain in CHAINS if chain != "run")]
)
def test_a_car_killed_at_one_step_after_the_other_goes_on_with_nothing_wrong_or_doubled(
    fleet: FakeFleet, car_process: MakeProcess, chain: str
) -> None:
    add_all_units(fleet)
    process = car_process()
    for fail_point in CHAINS[chain]:
        assert process.start(fail_point=fail_point).wait() == -signal.SIGKILL, fail_point
        # What was heard of as done is on disk: at most the block in work is done again.
        heard = heard_rows(process)
        assert all(kept >= heard[token] for token, kept in kept_rows(process).items() if token in heard), fail_point
    syncs = len(fleet.syncs)
    process.start()
    wait_until(lambda: fleet.count("stored") == SMALL + LARGE and len(fleet.syncs) > syncs)
    assert_nothing_wrong_or_doubled(fleet)
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert not list((process.state / "outputs").iterdir())
    assert not list((process.state / "inputs").iterdir())


@pytest.mark.slow
def test_a_unit_interrupted_ten_times_has_the_bytes_of_one_that_was_not(
    fleet: FakeFleet, car_process: MakeProcess
) -> None:
    """Absences, kill -9 from outside and at a fail point, and SIGTERM, in turn; the same unit is then run at one go."""
    add_slow_units(fleet, 1, rows=400)
    process = car_process(f'on_stop = "keep"\n[vehicle]\nhand_back = false\naway = {AWAY}\n{SLOW}')
    before = 0
    for turn in range(10):
        process.start(fail_point="block_done" if turn % 4 == 3 else "")
        if turn % 4 != 3:
            wait_until(lambda before=before: max(kept_rows(process).values(), default=0) > before)  # type: ignore[misc]
            if turn == 0:  # the car is away for a moment in every second
                wait_until(lambda: bool(process.events("ineligible")))
            process.send(signal.SIGKILL if turn % 4 == 1 else signal.SIGTERM)
        process.wait()
        kept = max(kept_rows(process).values(), default=0)
        assert kept >= before
        before = kept
    assert before > 0
    process.start()
    wait_until(lambda: fleet.count("stored") == 1)
    assert_all_right(fleet)
    assert len(fleet.replicas) == 1
    assert fleet.hand_backs == []
    # Later runs began after what earlier ones had kept: the count of rows never falls back.
    heard = [event["rows_done"] for event in process.events("block_done")]
    assert heard == sorted(heard)
    interrupted, fleet.units = fleet.units, []
    add_slow_units(fleet, 1, rows=400)
    wait_until(lambda: fleet.count("stored") == 1)
    assert fleet.units[0].output == interrupted[0].output


@pytest.mark.parametrize("fail_point", ["brake_pressed", "return_journaled", "return_dropped"])
def test_a_car_killed_while_it_leaves_hands_its_work_back_once(
    fleet: FakeFleet, car_process: MakeProcess, fail_point: str
) -> None:
    add_slow_units(fleet, 2, rows=4000)
    process = car_process(f'[vehicle]\naway_file = "away"\n{SLOW}').start(fail_point=fail_point)
    wait_until(lambda: bool(process.events("block_done")))
    (process.config.parent / "away").touch()
    assert process.wait() == -signal.SIGKILL
    assert fleet.hand_backs == []
    process.start()
    wait_until(lambda: len(fleet.hand_backs) == len(set(fleet.replicas)))
    assert {(item["kind"], item["reason"]) for item in fleet.hand_backs} == {("returned", "driving")}
    assert max(Counter(item["token"] for item in fleet.hand_backs).values()) == 1
    wait_until(lambda: not list((process.state / "outputs").iterdir()))


def test_an_agent_killed_while_the_owner_pauses_stays_paused(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process().start(fail_point="control_written")
    wait_until(lambda: bool(fleet.syncs))
    # The agent dies before it answers; the command sees that and writes the same wish by itself.
    assert process.run("pause").returncode == 0
    assert process.wait() == -signal.SIGKILL
    add_units(fleet, 1)
    syncs = len(fleet.syncs)
    process.start()
    wait_until(lambda: len(fleet.syncs) >= syncs + 3)
    assert fleet.syncs[-1]["state"]["reasons"] == ["paused_user"]
    assert fleet.count("waiting") == 1
    assert process.run("resume").returncode == 0
    wait_until(lambda: fleet.count("stored") == 1)


def test_the_file_of_a_chunk_that_was_cut_is_not_fetched_again(fleet: FakeFleet, car_process: MakeProcess) -> None:
    model_bytes = len(padded_model())
    add_units(fleet, 1, model=padded_model())
    process = car_process().start(fail_point="download_chunk_written:2")
    assert process.wait() == -signal.SIGKILL
    (partial,) = (process.state / "cache" / "partial").iterdir()
    here = partial.stat().st_size
    assert 0 < here < model_bytes
    process.start()
    wait_until(lambda: fleet.count("stored") == 1)
    name = fleet.units[0].contract["model"]["sha256"]
    ranges = [headers["range"] for _, path, headers in fleet.requests if path.endswith(name)]
    assert ranges == [f"bytes=0-{model_bytes - 1}", f"bytes={here}-{model_bytes - 1}"]
    assert_all_right(fleet)


def test_a_stray_status_or_socket_of_a_killed_agent_is_no_obstacle(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process().start()
    wait_until(lambda: bool(fleet.syncs))
    process.send(signal.SIGKILL)
    process.wait()
    assert (process.state / "control.sock").exists()
    assert process.run("status").stdout.startswith("The agent is not running")
    process.start()
    wait_until(lambda: "Waiting for work" in process.run("status").stdout)
    assert Path(process.state / "status.json").exists()


@pytest.mark.parametrize(
    "fail_point",
    [
        "keep_journaled",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("sync_answered:2", "settled_journaled:2", "sync_built:4")
        ),
    ],
)
def test_a_result_that_is_kept_outlives_a_kill_with_its_digest_and_sketch(
    fleet: FakeFleet, car_process: MakeProcess, fail_point: str
) -> None:
    add_units(fleet, 1, rows=300, inline_bytes_max=100)
    fleet.outcome_overrides = KeepAll()
    process = car_process().start(fail_point=fail_point)
    assert process.wait() == -signal.SIGKILL
    before = len(fleet.syncs)
    process.start()
    wait_until(lambda: any(sync["commitments"] for sync in fleet.syncs[before:]))
    fleet.outcome_overrides = {}
    wait_until(lambda: fleet.count("stored") == 1)
    assert_all_right(fleet)
    offers = [item for sync in fleet.syncs for item in sync["commitments"]]
    assert {(item["digest"], tuple(item["sketch"] or ())) for item in offers} == {(offers[0]["digest"], (0, 256))}
    assert len(fleet.replicas) == 1
