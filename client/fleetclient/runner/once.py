"""One unit in a confined runner of its own, for whoever is no car: an operator's machine that runs units again.

The same runner behind the same walls with the same contract as in a car, so the same output. The runner ends with the
call.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from pathlib import Path

from fleetclient.runner.crashes import CrashReason
from fleetclient.runner.jobs import (
    Job,
    RunnerExited,
    RunnerFailed,
    RunnerReady,
    RunnerSettings,
    UnitDone,
    UnitFailed,
    UnitStarted,
)
from fleetclient.runner.process import Runner

POLL_SECONDS = 1.0
# The wire's reasons for ends that tell; every other end is the model's own failure.
_BLAME = {CrashReason.PROCESSOR_TIME: "timed_out", CrashReason.MEMORY: "out_of_memory"}


def run_once(
    settings: RunnerSettings, job: Job, *, folder: Path, clock: Callable[[], float] = time.monotonic
) -> UnitDone | UnitFailed:
    """Load the model, run one unit and return how it ended; loading and running may each take the contract's seconds.

    `folder` is for the runner's own files. Call it from the main thread: the runner ends with the thread that began it.
    """
    runner = Runner(settings, folder=folder)
    try:
        runner.submit(job)
        return _wait(runner, job, clock)
    finally:
        runner.kill()


def _wait(runner: Runner, job: Job, clock: Callable[[], float]) -> UnitDone | UnitFailed:
    seconds_max = runner.settings.contract.limits.seconds
    until, is_ready = clock() + seconds_max, False
    while (left := until - clock()) > 0:
        select.select([runner.fileno()], [], [], min(left, POLL_SECONDS))
        for event in runner.poll():
            match event:
                case RunnerReady():
                    is_ready = True
                case UnitStarted():
                    until = clock() + seconds_max
                case UnitDone() | UnitFailed():
                    return event
                case RunnerFailed():
                    return UnitFailed(token=job.token, reason=event.reason, detail=event.detail)
                case RunnerExited():
                    reason = _BLAME.get(event.reason, "run_failed" if is_ready else "model_load_failed")
                    detail = f"the runner ended with {event.returncode}: {event.last_words}"[:300]
                    return UnitFailed(token=job.token, reason=reason, detail=detail)
    return UnitFailed(token=job.token, reason="timed_out", detail=f"over {seconds_max} s of wall time")
