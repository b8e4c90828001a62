"""Whole cars as processes: killed at every fail point and restarted, told to stop, and driven by a schedule."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fleetclient.netpolicy.door import PIECE_BYTES
from tests.client.fake_fleet import FakeFleet, Refused
from tests.client.support import (
    CLIENT_ROOT,
    CarProcess,
    add_slow_units,
    add_units,
    assert_all_right,
    is_running,
    linear_model,
    wait_until,
)

MakeProcess = Callable[..., CarProcess]
SLOW = "[simulation]\nspeed = 0.05\n"


def running_runner(process: CarProcess) -> int:
    """Wait until a unit is being run and return the runner's process id."""
    wait_until(lambda: bool(process.events("runner_ready")))
    return int(process.events("runner_started")[-1]["pid"])


def test_a_model_that_was_half_here_is_not_fetched_from_the_start(fleet: FakeFleet, car_process: MakeProcess) -> None:
    # Padded in its document string: field 6 of the protobuf.
    model = linear_model() + b"\x32" + _varint(700_000) + b"p" * 700_000
    add_units(fleet, 1, model=model)
    process = car_process().start(fail_point="download_chunk_written:2")
    assert process.wait() == -signal.SIGKILL
    process.start()
    wait_until(lambda: fleet.count("stored") == 1)
    ranges = [headers["range"] for _, path, headers in fleet.requests if path.endswith(_model_of(fleet))]
    assert ranges == [f"bytes=0-{len(model) - 1}", f"bytes={2 * PIECE_BYTES}-{len(model) - 1}"]
    assert_all_right(fleet)


def _varint(value: int) -> bytes:
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)


def _model_of(fleet: FakeFleet) -> str:
    return str(fleet.units[0].contract["model"]["sha256"])


def test_killing_the_agent_kills_the_runner(fleet: FakeFleet, car_process: MakeProcess) -> None:
    add_slow_units(fleet, 1, rows=4000)
    process = car_process(SLOW).start()
    pid = running_runner(process)
    process.send(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not is_running(pid))


def test_sigterm_stops_the_runner_hands_back_and_exits_with_zero(fleet: FakeFleet, car_process: MakeProcess) -> None:
    add_slow_units(fleet, 3, rows=4000)
    process = car_process(SLOW).start()
    pid = running_runner(process)
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert not is_running(pid)
    assert {item["reason"] for item in fleet.hand_backs} == {"shutting_down"}
    assert fleet.count("leased") == 0


def test_sigterm_ends_a_car_whose_server_is_gone(fleet: FakeFleet, car_process: MakeProcess) -> None:
    add_slow_units(fleet, 1, rows=4000)
    process = car_process(SLOW).start()
    pid = running_runner(process)
    fleet.stop()
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert not is_running(pid)


def test_a_simulated_car_drives_off_in_the_middle_of_a_unit_and_works_again_when_it_is_back(
    fleet: FakeFleet, car_process: MakeProcess
) -> None:
    # At this speed the unit takes longer than the car stays at first, and less than it stays in the end.
    add_slow_units(fleet, 1, rows=400)
    process = car_process("[vehicle]\naway = [[1.0, 1.8]]\nhand_back = true\n[simulation]\nspeed = 0.05\n").start()
    wait_until(lambda: fleet.count("stored") == 1)
    assert_all_right(fleet)
    reasons = [sync["state"]["reasons"] for sync in fleet.syncs if not sync["state"]["eligible"]]
    assert reasons
    assert all(each[0] in ("driving", "not_parked") for each in reasons)
    assert all(sync["capacity"]["replicas"] == 0 for sync in fleet.syncs if not sync["state"]["eligible"])
    assert [event["event"] for event in process.events("ineligible") + process.events("eligible")] == [
        "ineligible",
        "eligible",
    ]


def test_the_counter_grows_over_restarts(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process().start()
    wait_until(lambda: len(fleet.syncs) >= 2)
    process.send(signal.SIGKILL)
    process.wait()
    (vehicle_id,) = fleet.last_counter
    before, syncs = fleet.last_counter[vehicle_id], len(fleet.syncs)
    process.start()
    wait_until(lambda: len(fleet.syncs) > syncs)
    # Had the counter been repeated, the fake fleet would have refused and no sync would have been recorded.
    assert fleet.last_counter[vehicle_id] > before


def test_a_revoked_car_exits_with_three_and_does_not_speak_to_the_server_again(
    fleet: FakeFleet, car_process: MakeProcess
) -> None:
    process = car_process().start()
    wait_until(lambda: bool(fleet.syncs))
    fleet.refuse_next.append(("sync", Refused(403, "vehicle_revoked")))
    assert process.wait() == 3
    requests = len(fleet.requests)
    process.start()
    assert process.wait() == 3
    assert len(fleet.requests) == requests


def test_two_agents_do_not_share_a_folder(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process().start()
    wait_until(lambda: bool(fleet.syncs))
    second = process.run("run")
    assert second.returncode == 1
    assert "another agent is using" in second.stderr


def test_pairing_prints_the_code_in_a_line_for_programs_and_a_line_for_people(
    fleet: FakeFleet, car_process: MakeProcess
) -> None:
    process = car_process()
    paired = process.run("pair")
    assert paired.returncode == 0
    first, *human, last = (line for line in paired.stdout.splitlines() if not line.startswith("Fleet root"))
    assert json.loads(first) == {
        "event": "pairing",
        "user_code": "BCDF-GHJK",
        "verification_uri": fleet.origin + "/pair",
        "verification_uri_complete": fleet.origin + "/pair?code=BCDF-GHJK",
        "expires_in": 600,
        "match_number": 42,
    }
    assert "BCDF-GHJK" in human[0]
    vehicle_id = json.loads(last)["vehicle_id"]
    assert vehicle_id in fleet.vehicles
    again = process.run("pair")
    assert json.loads(again.stdout) == {"event": "paired", "vehicle_id": vehicle_id}


def test_status_says_what_a_car_does(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process(SLOW)
    assert process.run("status").stdout == "The agent is not running.\n"
    add_slow_units(fleet, 1, rows=4000)
    process.start()
    running_runner(process)
    wait_until(lambda: process.run("status").stdout.startswith("Working: row "))
    status = json.loads(process.run("status", "--json").stdout)
    assert (status["running"], status["eligible"], status["units"]["held"]) == (True, True, 1)
    process.send(signal.SIGTERM)
    process.wait()
    assert process.run("status").stdout == "The agent is not running.\n"


def test_logs_are_json_lines_without_secrets(fleet: FakeFleet, car_process: MakeProcess) -> None:
    add_units(fleet, 2)
    process = car_process().start()
    wait_until(lambda: fleet.count("stored") == 2)
    process.send(signal.SIGTERM)
    process.wait()
    text = process.log.read_text("utf-8")
    for line in text.splitlines():
        assert {"ts", "level", "event", "car"} <= json.loads(line).keys()
    key = (process.state / "identity" / "key").read_bytes()
    shown = text + process.out.read_text("utf-8")
    assert key.hex() not in shown
    assert not any(code in shown for code in fleet._pairings)
    assert not any(token in shown for token in fleet.replicas)


def test_the_agent_imports_no_runtime(tmp_path: Path) -> None:
    script = (
        "import sys, fleetclient.cli, fleetclient.agent.service\n"
        "heavy = {'numpy', 'onnxruntime', 'safetensors', 'onnx'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CLIENT_ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_working_agent_has_no_runtime_in_its_memory(fleet: FakeFleet, car_process: MakeProcess) -> None:
    add_units(fleet, 1)
    process = car_process().start()
    wait_until(lambda: fleet.count("stored") == 1)
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    assert "onnxruntime" not in maps
    assert "numpy" not in maps


def test_an_unknown_key_stops_the_command_with_a_suggestion(fleet: FakeFleet, car_process: MakeProcess) -> None:
    done = car_process("[limits]\nreplica = 3\n").run("run")
    assert done.returncode == 1
    assert done.stderr.startswith("fleetclient: unknown key limits.replica; did you mean replicas? (file ")
