"""One run: the car leaves and comes back, again and again, and every departure is timed twice."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.client.memory import family, processor_seconds
from bench.client.stage import BenchCar, Stage, StageError, config_text, order, set_stage
from bench.measure.machine import describe_machine
from bench.measure.percentiles import latency_summary, percentile
from bench.measure.statements import Connection, open_database
from bench.preempt.load import busy_cores
from bench.preempt.signals import DEPARTURES, Departure
from bench.preempt.watch import RunnerWatch
from bench.preempt.workload import make_workload

COUNT_MIN: Final = 200
LOAD_DEFAULT: Final = 0.5
# A runner computes when it has used this much of the processor since it had its model.
WORKING_SECONDS: Final = 0.15
# The departure falls at any point of a block of rows.
MOMENT_SECONDS_MAX: Final = 0.2
STOP_SECONDS_MAX: Final = 10.0
RETURN_SECONDS_MAX: Final = 60.0
WORK_SECONDS_MAX: Final = 240.0
POLL_SECONDS: Final = 0.01
STOP_MS_TARGET, RETURN_SECONDS_TARGET = 250.0, 10.0
# One car that comes back every few seconds: it may have the same unit again and again, and hears of it soon.
SERVER_ENV: Final = {
    "FLEET_SYNC_SECONDS_WORKING": "0.7",
    "FLEET_SYNC_SECONDS_IDLE": "0.7",
    "FLEET_REPLICA_ATTEMPTS_MAX": "30000",
    "FLEET_UNIT_ERRORS_MAX": "30000",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Preemption:
    """One departure: seconds from the message to a still runner, and to the server's record that work came back."""

    signal: str
    stop_seconds: float
    return_seconds: float
    burnt_after_seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--count", type=int, default=COUNT_MIN, help="how often the car leaves")
    parser.add_argument("--load", type=float, default=LOAD_DEFAULT, help="share of every core that other work takes")
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which it leaves")


def run(values: argparse.Namespace) -> dict[str, object]:
    """Run the benchmark with a parsed command line and return its figures."""
    if not 0.0 <= values.load < 1.0:
        raise SystemExit("--load must be at least 0 and below 1: the runner only gets what others leave")
    with set_stage(server_env=SERVER_ENV) as stage:
        work = make_workload(stage.folder)
        order(stage, model=work.model_path, dataset=work.dataset_path, file_format="npz", batch_rows=8)
        stage.car.configure(config_text(stage, rules="start_after_seconds = 0"))
        stage.car.start()
        with open_database(stage.supervisor.env["DATABASE_URL"]) as connection, busy_cores(values.load):
            found = leave_often(stage, connection, count=values.count, random=random.Random(values.seed))
    return make_report(found, load=values.load)


def leave_often(stage: Stage, connection: Connection, *, count: int, random: random.Random) -> list[Preemption]:
    """Let the car leave so many times."""
    found = []
    for number in range(count):
        departure = DEPARTURES[number % len(DEPARTURES)]
        runner = wait_until_working(stage.car)
        time.sleep(random.uniform(0.0, MOMENT_SECONDS_MAX))
        found.append(leave_once(stage, connection, departure, runner=runner))
        departure.end(stage.teslamate)
        if (number + 1) % 20 == 0:
            print(f"{number + 1} of {count} departures", file=sys.stderr, flush=True)
    return found


def leave_once(stage: Stage, connection: Connection, departure: Departure, *, runner: int) -> Preemption:
    """Let the car leave, and time what follows. Raises StageError when the runner goes on or nothing comes back."""
    with RunnerWatch(runner) as watch, coming_first():
        if not watch.is_there:
            raise StageError("the runner has gone without a departure")
        left_at = departure.happen(stage.teslamate)
        still_at = watch.wait_still(seconds=STOP_SECONDS_MAX)
        if still_at is None:
            raise StageError(f"after {departure.name} the runner went on for {STOP_SECONDS_MAX:.0f} s")
        burnt = watch.burns_afterwards()
    while count_leased(connection):
        if time.monotonic() - left_at > RETURN_SECONDS_MAX:
            raise StageError(f"after {departure.name} the work did not come back in {RETURN_SECONDS_MAX:.0f} s")
        time.sleep(POLL_SECONDS)
    returned_at = time.monotonic()
    return Preemption(
        signal=departure.name,
        stop_seconds=still_at - left_at,
        return_seconds=returned_at - left_at,
        burnt_after_seconds=burnt,
    )


def wait_until_working(car: BenchCar) -> int:
    """Return a runner that computes. Raises StageError when none does."""
    car.wait(lambda: find_runner(car) is not None, "a runner with a model", seconds=WORK_SECONDS_MAX)
    runner = find_runner(car)
    if runner is None:
        raise StageError("the runner has gone without a departure")
    loaded = processor_seconds([runner])
    car.wait(
        lambda: processor_seconds([runner]) >= loaded + WORKING_SECONDS,
        "a runner that computes",
        seconds=WORK_SECONDS_MAX,
    )
    return runner


def find_runner(car: BenchCar) -> int | None:
    """Return the runner that has its model, None when there is none. The agent has other children now and then."""
    started, ready = car.events("runner_started"), car.events("runner_ready")
    if not started or len(ready) < len(started):
        return None
    pid = int(started[-1]["pid"])
    return pid if pid in family(car.pid) else None


def count_leased(connection: Connection) -> int:
    """Return how many replicas the server believes to be with the car."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM replica WHERE state = 'LEASED'")
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def make_report(found: Sequence[Preemption], *, load: float) -> dict[str, object]:
    """Return the figures."""
    stops = [each.stop_seconds for each in found]
    returns = sorted(each.return_seconds for each in found)
    by_signal: dict[str, list[float]] = defaultdict(list)
    for each in found:
        by_signal[each.signal].append(each.stop_seconds)
    summary = latency_summary(stops)
    hand_back = percentile(returns, 0.99)
    targets = {"p99_ms": summary["p99_ms"] > STOP_MS_TARGET, "hand_back_p99_s": hand_back > RETURN_SECONDS_TARGET}
    return {
        **summary,
        "hand_back_p99_s": round(hand_back, 2),
        "hand_back_p50_s": round(percentile(returns, 0.5), 2),
        "hand_back_max_s": round(returns[-1], 2),
        "preemptions": len(found),
        "load_per_core": load,
        "worst_ms_by_signal": {name: round(1000.0 * max(values), 2) for name, values in sorted(by_signal.items())},
        "burnt_after_ms": round(1000.0 * max(each.burnt_after_seconds for each in found), 3),
        "missed": [name for name, is_missed in targets.items() if is_missed],
        "machine": describe_machine(),
    }


@contextmanager
def coming_first() -> Iterator[None]:
    """Let this thread come before all processes where that is allowed: it must not wait for what it measures."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
