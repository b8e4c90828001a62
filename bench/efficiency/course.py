"""One run: the client and the bare loop in turns on one core; the rate of each from unit to unit, block to block."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Final

from bench.client.memory import family, processor_seconds, waited_seconds
from bench.client.stage import BenchCar, Stage, StageError, config_text, order, pin, set_stage
from bench.efficiency.loop import BareLoop
from bench.efficiency.rates import Segment, rate_of, rate_of_units, read_units
from bench.efficiency.workload import make_workload
from bench.measure.machine import describe_machine

TURN_SECONDS: Final = 20.0
STEADY_SECONDS_MIN: Final = 60.0
BATCH_ROWS: Final = 8
# A unit takes some seconds here, so that turns can end between two of them; a real one takes a minute.
UNIT_ROWS: Final = 1024
UNITS_BEFORE: Final = 2
START_SECONDS_MAX: Final = 240.0
RATIO_TARGET: Final = 0.95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--turns", type=int, default=5, help="turns of the client, and as many of the bare loop")
    parser.add_argument("--turn-seconds", type=float, default=TURN_SECONDS, help="length of each turn")


@dataclass
class Turns:
    """What was measured: the client's segments by wall time, the bare loop's own rates."""

    segments: list[Segment] = field(default_factory=list)
    bare: list[tuple[int, float]] = field(default_factory=list)
    agent_seconds: float = 0.0
    runner_seconds: float = 0.0
    runner_waited_seconds: float = 0.0
    bare_waited_seconds: float = 0.0


def run(values: argparse.Namespace) -> dict[str, object]:
    """Run the benchmark with a parsed command line and return its figures."""
    if values.turns * values.turn_seconds < STEADY_SECONDS_MIN:
        raise SystemExit(f"--turns times --turn-seconds must be at least {STEADY_SECONDS_MIN:.0f} seconds")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the client, one for the server")
    machine = describe_machine()
    server_core, client_core = {cores[0]}, {cores[1]}
    with set_stage(server_env={"FLEET_UNIT_ROWS_MAX": str(UNIT_ROWS)}) as stage:
        # This process comes first, so that all it starts later stays off the client's core.
        pin([os.getpid(), *stage.supervisor.pids.values(), stage.broker_pid], server_core)
        for pid in stage.supervisor.pids.values():
            pin(family(pid), server_core)
        return _measure(values, stage, client_core) | {"machine": machine}


def _measure(values: argparse.Namespace, stage: Stage, client_core: set[int]) -> dict[str, object]:
    rows = int(values.turns * values.turn_seconds * 800) + 10 * UNIT_ROWS
    work = make_workload(stage.folder, rows=rows)
    batch_id = order(
        stage, model=work.model_path, dataset=work.dataset_path, file_format="parquet", batch_rows=BATCH_ROWS
    )
    with BareLoop(work.model_path, work.rows_path, batch_rows=BATCH_ROWS, cores=client_core) as bare:
        stage.car.configure(config_text(stage, rules="start_after_seconds = 0"))
        stage.car.start()
        pin([stage.car.pid], client_core)
        turns = take_turns(stage.car, bare, turns=values.turns, seconds=values.turn_seconds)
    stored = stage.researcher.get_progress(batch_id)
    return make_report(stage.car, turns, stored=stored["counts"])


def take_turns(car: BenchCar, bare: BareLoop, *, turns: int, seconds: float) -> Turns:
    """Let the two have the core in turns; each stands still while the other works."""
    car.wait(lambda: len(car.events("finished")) >= UNITS_BEFORE, "the first units", seconds=START_SECONDS_MAX)
    done = Turns()
    for number in range(turns):
        _say(f"turn {number + 1} of {turns}: the client for {seconds:.0f} s, then the bare loop")
        _hold(car, signal.SIGCONT)
        before, waited = _spent(car), waited_seconds(family(car.pid)[1:])
        began_at = time.time()
        time.sleep(seconds)
        done.segments.append(Segment(began_at=began_at, ended_at=time.time()))
        after = _spent(car)
        done.agent_seconds += after[0] - before[0]
        done.runner_seconds += after[1] - before[1]
        done.runner_waited_seconds += waited_seconds(family(car.pid)[1:]) - waited
        _hold(car, signal.SIGSTOP)
        waited = waited_seconds([bare.pid])
        done.bare.append(bare.run(seconds))
        done.bare_waited_seconds += waited_seconds([bare.pid]) - waited
    _hold(car, signal.SIGCONT)
    return done


def make_report(car: BenchCar, turns: Turns, *, stored: dict[str, int]) -> dict[str, object]:
    """Return the figures."""
    units = read_units(car)
    client = [rate_of_units(units, segment) for segment in turns.segments]
    rows, seconds = sum(each[0] for each in client), sum(each[1] for each in client)
    bare_rows, bare_seconds = sum(each[0] for each in turns.bare), sum(each[1] for each in turns.bare)
    if not seconds:
        raise StageError(f"too few units were finished in a turn; the client's log is {car.log_path}")
    rate, bare_rate = rows / seconds, bare_rows / bare_seconds
    turn_seconds = sum(each.ended_at - each.began_at for each in turns.segments)
    # The agent works on the same core: what the runner waits for that is the client's own cost and stays in.
    disturbed = max(0.0, turns.runner_waited_seconds - turns.agent_seconds) / turn_seconds
    bare_disturbed = turns.bare_waited_seconds / bare_seconds
    return {
        "ratio": round(rate / bare_rate, 4),
        "rows_per_second": round(rate, 2),
        "bare_rows_per_second": round(bare_rate, 2),
        "steady_seconds": round(seconds, 1),
        "rows": rows,
        "ratios_by_turn": [
            round(rate_of(one) / rate_of(other), 4) for one, other in zip(client, turns.bare, strict=True) if one[1]
        ],
        # Both give way to everything else on the machine. These two say how much of the core others took meanwhile,
        # and the third is the ratio without it: on a quiet machine it equals `ratio`.
        "others_percent": round(100.0 * disturbed, 2),
        "bare_others_percent": round(100.0 * bare_disturbed, 2),
        "ratio_without_others": round(rate / (1.0 - disturbed) / (bare_rate / (1.0 - bare_disturbed)), 4),
        "agent_cpu_percent": round(100.0 * turns.agent_seconds / turn_seconds, 2),
        "runner_cpu_percent": round(100.0 * turns.runner_seconds / turn_seconds, 2),
        "batch_rows": BATCH_ROWS,
        "unit_rows": UNIT_ROWS,
        "server_counts": stored,
        "missed": ["ratio"] if rate / bare_rate < RATIO_TARGET else [],
        "runner_starts": len(car.events("runner_started")),
        "handed_back": len(car.events("handed_back")),
        "errors": len(car.events("refused")) + len(car.events("runner_failed")),
    }


def _hold(car: BenchCar, number: signal.Signals) -> None:
    for pid in family(car.pid):
        os.kill(pid, number)


def _spent(car: BenchCar) -> tuple[float, float]:
    """Return the processor seconds so far of the agent, and of its runner."""
    agent, *children = family(car.pid)
    return processor_seconds([agent]), processor_seconds(children)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
