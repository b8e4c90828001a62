"""One run: an idle minute measured, then one small batch, and how long its runner outlives it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from bench.client.imports import import_times, import_weights
from bench.client.memory import family, processor_seconds, read_family_memory, read_mappings
from bench.client.stage import BenchCar, Stage, config_text, order, set_stage, wait_for_batch
from bench.demo.data import make_digits
from bench.measure.machine import describe_machine
from fleetcompute.embedded.process import wait_until

IDLE_SECONDS_DEFAULT: Final = 90.0
# After its start the agent tests itself, looks at the repository and syncs; that is over by then.
SETTLE_SECONDS: Final = 20.0
MAPPINGS_LISTED: Final = 8
BATCH_SECONDS_MAX: Final = 120.0
RUNNER_SECONDS_MAX: Final = 30.0
TARGETS: Final = {"idle_rss_mb": 40.0, "idle_cpu_percent": 0.5, "runner_gone_seconds": 1.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument(
        "--seconds", type=float, default=IDLE_SECONDS_DEFAULT, help="length of the idle measurement (at least 60)"
    )


def run(values: argparse.Namespace) -> dict[str, object]:
    """Run the benchmark with a parsed command line and return its figures."""
    if values.seconds < 60:
        raise SystemExit("--seconds must be at least 60: the agent's own periods are that long")
    with set_stage() as stage:
        stage.car.configure(config_text(stage, rules="start_after_seconds = 0"))
        stage.car.start()
        idle = measure_idle(stage.car, seconds=values.seconds)
        gone = measure_runner_gone(stage)
    report = {**idle, **gone}
    missed = [name for name, most in TARGETS.items() if float(str(report[name])) > most]
    return {**report, "missed": missed, "import_ms": import_times(), "import_mb": import_weights(),
            "machine": describe_machine()}  # fmt: skip


def measure_idle(car: BenchCar, *, seconds: float) -> dict[str, object]:
    """Measure the agent while there is no work: memory at the end, processor time over the whole span."""
    car.wait(lambda: bool(car.status().get("eligible")) and bool(car.status().get("online")), "eligible and online")
    _say(f"settling for {SETTLE_SECONDS:.0f} s")
    time.sleep(SETTLE_SECONDS)
    pid = car.pid
    _say(f"measuring an idle agent for {seconds:.0f} s")
    used, began_at, peak = processor_seconds(family(pid)), time.monotonic(), 0.0
    while time.monotonic() - began_at < seconds:
        time.sleep(1.0)
        peak = max(peak, read_family_memory(pid).pss_mb)
    used, elapsed = processor_seconds(family(pid)) - used, time.monotonic() - began_at
    memory, mappings = read_family_memory(pid), read_mappings(pid)
    ranked = sorted(mappings, key=lambda name: -mappings[name])[:MAPPINGS_LISTED]
    return {
        "idle_rss_mb": round(memory.pss_mb, 1),
        "idle_cpu_percent": round(100.0 * used / elapsed, 3),
        "idle_seconds": round(elapsed, 1),
        "pss_peak_mb": round(peak, 1),
        "rss_mb": round(memory.rss_mb, 1),
        "private_mb": round(memory.private_mb, 1),
        "processes": len(family(pid)),
        "threads": len(list(Path(f"/proc/{pid}/task").iterdir())),
        "pss_mb_by_mapping": {name: round(mappings[name], 2) for name in ranked},
    }


def measure_runner_gone(stage: Stage) -> dict[str, object]:
    """Run one small batch; return the time from the last finished unit until no runner is left."""
    digits = make_digits(stage.folder, rows_max=None)
    _say("running one small batch")
    car = stage.car
    batch_id = order(
        stage, model=digits.model_path, dataset=digits.dataset_path, file_format=digits.format, batch_rows=8
    )
    car.wait(lambda: bool(car.events("finished")), "the first unit", seconds=BATCH_SECONDS_MAX)
    seen, last_at = 0, time.monotonic()
    gone_at = 0.0

    def is_gone() -> bool:
        nonlocal seen, last_at, gone_at
        finished = len(car.events("finished"))
        if finished > seen:
            seen, last_at = finished, time.monotonic()
        gone_at = time.monotonic()
        return len(family(car.pid)) == 1

    wait_until(is_gone, seconds=RUNNER_SECONDS_MAX)
    status = wait_for_batch(stage, batch_id, seconds=BATCH_SECONDS_MAX)
    memory = read_family_memory(car.pid)
    return {
        "runner_gone_seconds": round(gone_at - last_at, 2),
        "units": seen,
        "batch": status,
        "errors": 0 if status == "completed" else 1,
        "pss_after_work_mb": round(memory.pss_mb, 1),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
