"""The instruments of the client's benchmarks, tried on real processes and on logs made by hand."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import client, efficiency, preempt
from bench.client.imports import import_times, import_weights
from bench.client.memory import (
    family,
    processor_seconds,
    read_family_memory,
    read_mappings,
    read_memory,
    waited_seconds,
)
from bench.client.stage import BenchCar
from bench.demo.cast import CARS
from bench.efficiency.rates import FinishedUnit, Segment, rate_of, rate_of_units, read_units
from bench.preempt.course import Preemption, find_runner, make_report
from bench.preempt.signals import DEPARTURES
from bench.preempt.watch import RunnerWatch
from bench.preempt.workload import make_workload
from fleetclient.vehicle.teslamate_signals import KEYS, derive_signals

BUSY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"


def wait_until(condition: Any) -> None:
    give_up_at = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.005)


@pytest.fixture
def busy_parent() -> Iterator[int]:
    """A process that sleeps, with a child that burns cycles."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], process_group=0)
    wait_until(lambda: len(family(process.pid)) == 2 and processor_seconds(family(process.pid)[1:]) > 0.05)
    yield process.pid
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_stopped_runner_is_seen_still_and_burns_nothing(busy_parent: int) -> None:
    child = family(busy_parent)[1]
    with RunnerWatch(child) as watch:
        assert watch.is_there
        assert not watch.is_still()
        assert watch.burns_afterwards() > 0
        sent_at = time.monotonic()
        os.kill(child, signal.SIGSTOP)
        still_at = watch.wait_still(seconds=30.0)
        assert still_at is not None
        assert still_at >= sent_at
        assert watch.burns_afterwards() == 0.0
        os.kill(child, signal.SIGCONT)
        wait_until(lambda: not watch.is_still())
        os.kill(child, signal.SIGKILL)
        assert watch.wait_still(seconds=30.0) is not None


def test_a_runner_that_goes_on_is_never_seen_still(busy_parent: int) -> None:
    with RunnerWatch(family(busy_parent)[1]) as watch:
        assert watch.wait_still(seconds=0.05) is None


def test_memory_and_processor_time_are_those_of_the_kernel(busy_parent: int) -> None:
    parent, child = family(busy_parent)
    alone, both = read_memory(parent), read_family_memory(parent)
    assert 0 < alone.private_mb <= alone.pss_mb <= alone.rss_mb
    assert both.pss_mb > alone.pss_mb
    assert sum(read_mappings(parent).values()) == pytest.approx(read_memory(parent).pss_mb, rel=0.2)
    before = processor_seconds([child])
    wait_until(lambda: processor_seconds([child]) > before)
    assert waited_seconds([child]) >= 0
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert (read_memory(gone.pid).rss_mb, processor_seconds([gone.pid]), family(gone.pid)) == (0.0, 0.0, [])


def test_rates_are_counted_between_finished_units_of_one_turn() -> None:
    units = [FinishedUnit(at=at, rows=100) for at in (0.9, 1.0, 3.0, 5.0, 7.1)]
    assert rate_of_units(units, Segment(began_at=1.0, ended_at=7.0)) == (200, 4.0)
    assert rate_of((200, 4.0)) == 50.0
    assert rate_of_units(units, Segment(began_at=2.0, ended_at=4.0)) == (0, 0.0)


def test_finished_units_are_read_from_the_clients_log(tmp_path: Path) -> None:
    car = BenchCar(CARS[0], folder=tmp_path, origin="http://127.0.0.1:1")
    lines = [
        {"ts": "2026-01-01T00:00:00.000+00:00", "event": "leased", "token": "abc", "rows": 512},
        {"ts": "2026-01-01T00:00:01.500+00:00", "event": "finished", "token": "abc"},
    ]
    car.log_path.write_text("for people\n" + "".join(json.dumps(line) + "\n" for line in lines) + '{"half')
    assert read_units(car) == [FinishedUnit(at=1767225601.5, rows=512)]
    assert len(car.events("leased")) == 1


def test_the_runner_is_the_last_one_that_has_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    car = BenchCar(CARS[0], folder=tmp_path, origin="http://127.0.0.1:1")
    monkeypatch.setattr(BenchCar, "pid", os.getpid())
    started, ready = ({"event": name, "pid": os.getpid()} for name in ("runner_started", "runner_ready"))
    for lines, expected in (
        ([], None),
        ([started], None),
        ([started, ready], os.getpid()),
        ([started, ready, started], None),
        ([started, ready, {**started, "pid": 1}, ready], None),
    ):
        car.log_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert find_runner(car) == expected


def test_every_departure_forbids_work_and_its_end_allows_it() -> None:
    from bench.client.teslamate import PARKED

    def says(changes: dict[str, str]) -> dict[str, Any]:
        return derive_signals({**PARKED, **changes}, home_names=["Home"])

    assert set(PARKED) <= set(KEYS)
    calm = says({})
    for departure in DEPARTURES:
        assert departure.key in PARKED
        changed = {name: value for name, value in says({departure.key: departure.value}).items() if value != calm[name]}
        assert changed, departure.name


def test_the_report_of_departures_takes_the_worst(tmp_path: Path) -> None:
    found = [
        Preemption(signal="a", stop_seconds=0.010 * number, return_seconds=1.0 * number, burnt_after_seconds=0.0)
        for number in range(1, 101)
    ]
    report = make_report(found, load=0.5)
    assert (report["p50_ms"], report["p99_ms"], report["max_ms"]) == (500.0, 990.0, 1000.0)
    assert (report["hand_back_p99_s"], report["preemptions"]) == (99.0, 100)
    assert report["missed"] == ["p99_ms", "hand_back_p99_s"]
    assert report["worst_ms_by_signal"] == {"a": 1000.0}


def test_the_long_model_is_valid_and_runs(tmp_path: Path) -> None:
    import numpy as np
    import onnxruntime

    work = make_workload(tmp_path)
    session = onnxruntime.InferenceSession(work.model_path, providers=["CPUExecutionProvider"])
    with np.load(work.dataset_path) as rows:
        (state,) = session.run(None, {"steps": rows["steps"][:2]})
    assert state.shape == (2, 256)
    assert np.isfinite(state).all()


def test_the_weight_of_imports_is_told_by_package() -> None:
    times, weights = import_times(), import_weights()
    assert {"package", "own_ms", "modules"} == set(times[0])
    assert any(each["package"] == "fleetclient" for each in times)
    assert weights[0]["layer"] == "python"
    assert weights[-1]["layer"] == "fleetclient.agent.service"


@pytest.mark.parametrize(
    ("module", "arguments", "sentence"),
    [
        (client, ["--seconds", "10"], "--seconds must be at least 60"),
        (efficiency, ["--turns", "1"], "--turns times --turn-seconds must be at least 60"),
        (preempt, ["--load", "1"], "--load must be at least 0 and below 1"),
    ],
)
def test_a_run_that_would_prove_nothing_is_refused(module: Any, arguments: list[str], sentence: str) -> None:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    with pytest.raises(SystemExit, match=sentence):
        module.run(parser.parse_args(arguments))
