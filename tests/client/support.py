"""What the client's tests share: tiny real models, units for the fake fleet, cars in this process and as processes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load, save

from fleetclient.agent.admission import Admission
from fleetclient.agent.assemble import ask_refusals, note_crashes
from fleetclient.agent.background import Background, InlineBackground
from fleetclient.agent.brake import Brake
from fleetclient.agent.chores import Chores
from fleetclient.agent.loop import Agent
from fleetclient.agent.parts import Parts
from fleetclient.agent.timesheet import Timesheet
from fleetclient.agent.workshop import Workshop
from fleetclient.cache import ModelCache
from fleetclient.clock import boot_seconds, wall_seconds
from fleetclient.config import Config, parse_config
from fleetclient.history import History
from fleetclient.identity import Identity
from fleetclient.journal import Journal
from fleetclient.logs import Log
from fleetclient.network import Network
from fleetclient.runner.crashes import CrashBook
from fleetclient.spool import Spool
from fleetclient.state import StateFolder
from fleetclient.trust.gate import TrustGate
from fleetclient.usage import UsageMeter
from fleetclient.vehicle.source import VehicleSource, VehicleState
from fleetclient.wire import AgentInfo, Contract
from fleetclient.wire.contract import read_contract
from tests.client.fake_fleet import FakeFleet, FakeUnit

CLIENT_ROOT = Path(__file__).parents[2] / "client"
WAIT_SECONDS = 60.0
FEATURES = 16
CLASSES = 8
WEIGHTS = np.random.default_rng(7).normal(size=(FEATURES, CLASSES)).astype(np.float32)


def wait_until(condition: Callable[[], bool], *, also: Callable[[], object] = lambda: None) -> None:
    """Wait for something that must happen; the limit only keeps a broken test from hanging."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not condition():
        also()
        if time.monotonic() > give_up_at:
            raise AssertionError("it did not happen")
        time.sleep(0.01)


# -- models ----------------------------------------------------------------------------------------------------


def build_model(nodes: list[onnx.NodeProto], outputs: list[Any], initializers: list[Any]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", FEATURES])],
        outputs,
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def linear_model(weights: np.ndarray[Any, Any] = WEIGHTS) -> bytes:
    """Return a model of x @ weights, and the index of the greatest."""
    return build_model(
        [
            helper.make_node("MatMul", ["x", "weights"], ["logits"]),
            helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", CLASSES]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["rows"]),
        ],
        [numpy_helper.from_array(weights, "weights")],
    )


def hungry_model(elements: int) -> bytes:
    """Return a model that asks for `elements` floats when it runs (their number depends on the input)."""
    return build_model(
        [
            helper.make_node("ReduceSum", ["x", "all_axes"], ["total"], keepdims=0),
            helper.make_node("Mul", ["total", "zero"], ["nothing"]),
            helper.make_node("Cast", ["nothing"], ["nothing_whole"], to=TensorProto.INT64),
            helper.make_node("Add", ["nothing_whole", "elements"], ["shape"]),
            helper.make_node("Expand", ["one", "shape"], ["much"]),
            helper.make_node("ReduceSum", ["much", "all_axes_of_one"], ["much_total"], keepdims=0),
            helper.make_node("MatMul", ["x", "weights"], ["product"]),
            helper.make_node("Add", ["product", "much_total"], ["logits"]),
            helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", CLASSES]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["rows"]),
        ],
        [
            numpy_helper.from_array(WEIGHTS, "weights"),
            numpy_helper.from_array(np.array([0, 1], np.int64), "all_axes"),
            numpy_helper.from_array(np.array([0], np.int64), "all_axes_of_one"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array([1.0], np.float32), "one"),
            numpy_helper.from_array(np.array([elements], np.int64), "elements"),
        ],
    )


def looping_model(trips: int) -> bytes:
    """Return the linear model, with a loop of so many trips that changes nothing."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition_in"], ["condition_out"]),
            helper.make_node("Abs", ["state_in"], ["size"]),
            helper.make_node("Sign", ["state_in"], ["sign"]),
            helper.make_node("Mul", ["size", "sign"], ["state_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("condition_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, None),
        ],
    )
    return build_model(
        [
            helper.make_node("MatMul", ["x", "weights"], ["product"]),
            helper.make_node("Loop", ["trips", "yes", "product"], ["logits"], body=body),
            helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", CLASSES]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["rows"]),
        ],
        [
            numpy_helper.from_array(WEIGHTS, "weights"),
            numpy_helper.from_array(np.array(trips, np.int64), "trips"),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )


def endless_model() -> bytes:
    """Return a model that does not come to an end."""
    return looping_model(2**60)


def slow_model() -> bytes:
    """Return the linear model, a thousand times slower: half a millisecond a block, or several on a busy machine."""
    return looping_model(2000)


def contract_document(
    model: bytes, *, batch_rows: int = 4, inline_bytes_max: int = 100_000, **limits: int
) -> dict[str, Any]:
    return {
        "model": {"sha256": hashlib.sha256(model).hexdigest(), "bytes": len(model)},
        "inputs": [{"name": "x", "dtype": "F32", "shape": [FEATURES]}],
        "outputs": [
            {"name": "logits", "dtype": "F32", "shape": [CLASSES]},
            {"name": "label", "dtype": "I64", "shape": []},
        ],
        "batch_rows": batch_rows,
        "limits": {
            "memory_bytes": 200_000_000,
            "seconds": 60,
            "output_bytes_max": 10_000_000,
            "inline_bytes_max": inline_bytes_max,
            **limits,
        },
        "session": {"graph_optimization": "all", "intra_op_threads": 1},
    }


def contract_of(model: bytes, **options: int) -> Contract:
    return read_contract(contract_document(model, **options))


def input_rows(rows: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(rows, FEATURES)).astype(np.float32)


def add_units(fleet: FakeFleet, count: int, *, rows: int = 10, model: bytes | None = None, **options: int) -> None:
    """Give the fleet units of the linear model; unit i has the rows of seed i."""
    model = model or linear_model()
    fleet.add_blob(model)
    for seed in range(count):
        fleet.add_unit(contract_document(model, **options), save({"x": input_rows(rows, seed)}), rows)


def add_slow_units(fleet: FakeFleet, count: int, *, rows: int, **options: int) -> None:
    """Units that take about 7 ms a row in a car of the speed 0.2."""
    add_units(fleet, count, rows=rows, model=slow_model(), **options)


def assert_output_is_right(unit: FakeUnit, seed: int) -> None:
    """The rows of a stored unit are those of the linear model, in order, each once."""
    tensors = load(unit.output)
    expected = input_rows(unit.rows, seed) @ WEIGHTS
    np.testing.assert_allclose(tensors["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(tensors["label"], expected.argmax(axis=1))


def assert_all_right(fleet: FakeFleet) -> None:
    assert fleet.count("stored") == len(fleet.units)
    for seed, unit in enumerate(fleet.units):
        assert_output_is_right(unit, seed)


# -- cars in this process ----------------------------------------------------------------------------------------


class SettableVehicle:
    """A source that says what the test last set."""

    def __init__(self) -> None:
        self.state = VehicleState(eligible=True)

    def read(self, now: float) -> VehicleState:
        return self.state

    def leave(self, reason: str = "driving", absent_seconds: float | None = None) -> None:
        self.state = VehicleState(eligible=False, reasons=(reason,), absent_seconds=absent_seconds)

    def come_back(self) -> None:
        self.state = VehicleState(eligible=True)


@dataclass
class Car:
    """An agent driven step by step, on real files, real HTTP and a real runner."""

    agent: Agent
    vehicle: SettableVehicle
    log_lines: io.StringIO
    network: Network
    usage: UsageMeter
    crashes: CrashBook

    @property
    def parts(self) -> Parts:
        return self.agent.parts

    def step(self, at: float | None = None) -> float:
        return self.agent.step(boot_seconds() if at is None else at)

    def step_until(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, also=self.step)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log_lines.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]

    def close(self) -> None:
        self.parts.workshop.kill()
        self.parts.timesheet.close()
        self.parts.journal.close()


# The fake fleet has no repository of signed models, which only a simulation on this machine may do without.
UNTRUSTED = {"trust": {"mode": "off"}, "simulation": {"speed": 1.0}}


def make_config(folder: Path, fleet: FakeFleet, **sections: Any) -> Config:
    document = {"server": fleet.origin, "state_dir": "state", "cache_dir": "state/cache", **UNTRUSTED, **sections}
    return parse_config(document, folder=folder)


def make_identity(folder: Path, fleet: FakeFleet, vehicle_id: str = "veh_test") -> Identity:
    """Return a paired identity that the fleet knows."""
    identity = Identity(folder / "state" / "identity")
    identity.remember_pairing(vehicle_id=vehicle_id, director_key=fleet.director.public_key().public_bytes_raw())
    fleet.add_vehicle(vehicle_id, identity.public_key)
    return identity


def make_car(
    folder: Path,
    fleet: FakeFleet,
    *,
    background: Background | None = None,
    source: VehicleSource | None = None,
    boot_id: str = "this boot",
    gate: Any = None,
    **sections: Any,
) -> Car:
    config = make_config(folder, fleet, **sections)
    network = Network(origin=config.server, identity=make_identity(folder, fleet))
    state = StateFolder(config.state_dir)
    vehicle, log_lines = SettableVehicle(), io.StringIO()
    log = Log(level="debug", stream=log_lines)
    cache = ModelCache(config.cache_dir, bytes_max=config.cache.models_bytes_max)
    spool, brake = Spool(state.folder), Brake()
    background = background or InlineBackground()
    usage, crashes = UsageMeter(state.usage), CrashBook(state.folder / "crashes.json")
    gate = gate or TrustGate(options=config.trust, origin=config.server, folder=state.folder / "trust", log=log)
    parts = Parts(
        config=config,
        state=state,
        network=network,
        journal=Journal(state.journal, boot_id=boot_id),
        spool=spool,
        cache=cache,
        workshop=Workshop(
            folder=state.folder,
            cache=cache,
            spool=spool,
            simulation=config.simulation,
            sandbox=config.sandbox,
            idle_seconds=config.limits.runner_idle_seconds,
            log=log,
            brake=brake,
            crashed=note_crashes(crashes, wall_seconds, log),
        ),
        brake=brake,
        source=source or vehicle,
        admission=Admission(gate=gate, background=background, refused_until=ask_refusals(crashes, wall_seconds)),
        timesheet=Timesheet(
            usage=usage,
            history=History(state.history, now_unix=wall_seconds()),
            watts=lambda: config.energy.active_watts,
            unix=wall_seconds,
        ),
        chores=Chores((), background=background, log=log),
        background=background,
        info=lambda: AgentInfo(version="0.1.0", runtime="onnxruntime/1.32.0", comparison_class="cpu-fp32-ort1.32-avx2"),
        log=log,
    )
    return Car(Agent(parts, now=boot_seconds()), vehicle, log_lines, network, usage, crashes)


# -- cars as processes -------------------------------------------------------------------------------------------


class CarProcess:
    """`python -m fleetclient run` on a configuration file, started and restarted."""

    def __init__(self, folder: Path, fleet: FakeFleet, *, extra: str = "") -> None:
        self.config = folder / "car.toml"
        self.state = folder / "state"
        sections = extra if "[simulation]" in extra else extra + "\n[simulation]\nspeed = 1.0\n"
        self.config.write_text(
            f'server = "{fleet.origin}"\nstate_dir = "state"\ncache_dir = "state/cache"\nname = "Test car"\n'
            f'log_level = "debug"\n{sections}\n[trust]\nmode = "off"\n[status]\nport = 0\n'
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "car.log"
        self.out = folder / "car.out"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "fleetclient", *arguments, "--config", str(self.config)]

    def environment(self, fail_point: str = "") -> dict[str, str]:
        # A car that a test connects to nothing is the scripted one.
        scripted = {} if "source = " in self.config.read_text() else {"FLEET_VEHICLE__SOURCE": "scripted"}
        own = {"PYTHONPATH": str(CLIENT_ROOT), "FLEETCLIENT_FAIL_POINT": fail_point}
        return {**os.environ, **scripted, **own}

    def start(self, *, fail_point: str = "") -> CarProcess:
        with self.log.open("ab") as log, self.out.open("ab") as out:
            self.process = subprocess.Popen(
                self.command("run"), env=self.environment(fail_point), stdout=out, stderr=log
            )
        return self

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environment(), capture_output=True, text=True, check=False
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=WAIT_SECONDS)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_text("utf-8").splitlines() if self.log.exists() else []
        return [event for line in lines if line.startswith("{") and (event := json.loads(line))["event"] == name]


def is_running(pid: int) -> bool:
    """True while a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def process_state(pid: int) -> str:
    """The kernel's letter: R or S running or asleep, T stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


class KeepAll(dict[str, str]):
    """Has the car keep whatever it offers."""

    def __contains__(self, token: object) -> bool:
        return True

    def __missing__(self, token: str) -> str:
        return "keep"
