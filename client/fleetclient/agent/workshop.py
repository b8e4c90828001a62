"""Minding the runner: at most one, with one model, fed so that it never waits, ended when idle, blamed when it dies.

Two jobs are in its pipe at most: the one it runs and the next, so that no time is lost between units. A runner that
was frozen for a while is ended to give its memory back: its unit goes on at its last row block in the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fleetclient.agent.brake import Brake
from fleetclient.cache import ModelCache
from fleetclient.config import SimulationConfig
from fleetclient.failpoints import fail_point
from fleetclient.logs import Log
from fleetclient.runner.crashes import CrashReason
from fleetclient.runner.jobs import (
    Job,
    RunnerEvent,
    RunnerExited,
    RunnerFailed,
    RunnerReady,
    RunnerSettings,
    UnitDone,
    UnitFailed,
    UnitProgress,
    UnitStarted,
)
from fleetclient.runner.options import SandboxOptions
from fleetclient.runner.process import Runner
from fleetclient.spool import Spool
from fleetclient.units import Unit

JOBS_IN_PIPE_MAX = 2
# A model that is loaded goes on while units of another wait no longer than this.
OTHER_MODEL_WAITS_SECONDS = 30.0
SMOOTHING = 0.3
# A pause at a traffic light should not cost the loading of a model; longer, and the car wants its memory back.
FROZEN_SECONDS_MAX = 15.0
# The wire's error reasons for ends that tell; all others are the model's own failure to load or to run.
_BLAME = {CrashReason.PROCESSOR_TIME: "timed_out", CrashReason.MEMORY: "out_of_memory"}


class Workshop:
    """Holds the runner and the units given to it.

    `unit_seconds` is the smoothed wall time of a unit, None at first; `walls` what the last runner said of its
    confinement. `crashed(model hash, reason)` is called when a model has ended its runner.
    """

    def __init__(
        self,
        *,
        folder: Path,
        cache: ModelCache,
        spool: Spool,
        simulation: SimulationConfig,
        sandbox: SandboxOptions,
        idle_seconds: float,
        log: Log,
        brake: Brake,
        crashed: Callable[[str, CrashReason], None] = lambda _sha256, _reason: None,
        start_runner: Callable[..., Runner] = Runner,
    ) -> None:
        self._folder = folder
        self._cache = cache
        self._spool = spool
        self._simulation = simulation
        self._sandbox = sandbox
        self._idle_seconds = idle_seconds
        self._log = log
        self._brake = brake
        self._crashed = crashed
        self._start_runner = start_runner
        self._runner: Runner | None = None
        self._is_ready = False
        self._given: dict[str, Unit] = {}
        self._current: str | None = None
        self._began_at = 0.0
        self._stopped_at: float | None = None
        self.rows_done = 0
        self.unit_seconds: float | None = None
        self.walls: dict[str, bool] = {}

    @property
    def runner(self) -> Runner | None:
        """The runner's handle, to wait on; None while there is none."""
        return self._runner

    @property
    def given_tokens(self) -> tuple[str, ...]:
        """The units in the runner, the running one first."""
        return tuple(self._given)

    @property
    def is_working(self) -> bool:
        """True while processor time is spent on units."""
        return bool(self._given) and self._stopped_at is None

    @property
    def is_frozen(self) -> bool:
        """True while there is a runner that may not run."""
        return self._runner is not None and self._stopped_at is not None

    def due_at(self) -> float:
        """Return when something has to be done about the runner that no event will tell, on the boot clock."""
        if self._runner is None:
            return float("inf")
        if self._stopped_at is not None:
            return self._stopped_at + FROZEN_SECONDS_MAX
        return self._began_at + (self._runner.settings.contract.limits.seconds if self._given else self._idle_seconds)

    def feed(self, units: Sequence[Unit], *, now: float) -> None:
        """Give the runner work out of `units`, whose models and inputs are here; start, change or end it as needed."""
        if self._stopped_at is not None or self._brake.is_pressed:
            return
        waiting = [unit for unit in units if unit.token not in self._given]
        if self._runner is not None and not self._given and self._should_end(self._runner, waiting, now):
            self.kill()
        if self._runner is None and waiting:
            self._start(waiting[0], now)
        for unit in waiting:
            if self._runner is None or len(self._given) >= JOBS_IN_PIPE_MAX:
                return
            if unit.contract == self._runner.settings.contract:
                self._give(self._runner, unit, now)

    def collect(self, now: float) -> list[UnitDone | UnitFailed]:
        """Return the units that ended since the last call, and those that their time limit ends now."""
        ended: list[UnitDone | UnitFailed] = []
        if self._runner is not None:
            for event in self._runner.poll():
                ended += self._hear(event, now)
        return ended + self._end_overdue(now)

    def stop(self, now: float) -> None:
        """Freeze the runner; its time limit stands still too."""
        self._brake.press()
        if self._stopped_at is None:
            self._stopped_at = now

    def resume(self, now: float, *, presses: int) -> bool:
        """Go on after `stop`, unless the brake was pressed again since `presses` was read; return True if it does."""
        if not self._brake.release(presses):
            return False
        if self._stopped_at is not None:
            self._began_at += now - self._stopped_at
            self._stopped_at = None
        return True

    def free_frozen(self, now: float) -> None:
        """End a runner that has been frozen for long: its memory is the car's, its unit goes on in another one."""
        if self._stopped_at is not None and now - self._stopped_at >= FROZEN_SECONDS_MAX:
            self.kill()

    def discard(self, tokens: Sequence[str]) -> None:
        """Make sure that none of these units is worked on. Others in the pipe are given again later."""
        if not self._given.keys().isdisjoint(tokens):
            self.kill()

    def cancel(self, tokens: Sequence[str]) -> None:
        """Stop work on these units if that saves something.

        One that only waits in the pipe is left there: its input is gone, so it fails at once, which costs less than
        loading the model again.
        """
        if self._current in tokens:
            self.kill()

    def kill(self) -> None:
        """End the runner at once; what it had not finished is forgotten here and still held in the journal."""
        if self._runner is not None:
            self._brake.detach(self._runner)
            self._runner.kill()
        self._clear()

    def _should_end(self, runner: Runner, waiting: list[Unit], now: float) -> bool:
        contract = runner.settings.contract
        if not waiting:
            return now - self._began_at >= self._idle_seconds
        others_wait_since = [unit.leased_at for unit in waiting if unit.contract != contract]
        if len(others_wait_since) == len(waiting):
            return True
        return bool(others_wait_since) and now - min(others_wait_since) > OTHER_MODEL_WAITS_SECONDS

    def _start(self, unit: Unit, now: float) -> None:
        self._cache.touch(unit.contract.model.sha256)
        settings = RunnerSettings(
            model_path=self._cache.path(unit.contract.model.sha256),
            contract=unit.contract,
            memory_bytes=unit.contract.limits.memory_bytes,
            sandbox=self._sandbox,
            speed=self._simulation.speed,
            fault=self._simulation.fault,
            fault_seed=self._simulation.fault_seed,
            fault_rate=self._simulation.fault_rate,
        )
        self._runner = self._start_runner(settings, folder=self._folder)
        self._brake.attach(self._runner)
        fail_point("runner_started")
        self._is_ready = False
        self._began_at = now
        self._log.info("runner_started", pid=self._runner.pid, model=unit.contract.model.sha256[:12])

    def _give(self, runner: Runner, unit: Unit, now: float) -> None:
        if not self._given and self._is_ready:
            self._began_at = now
        self._given[unit.token] = unit
        runner.submit(
            Job(
                token=unit.token,
                rows=unit.lease.rows,
                salt=unit.lease.salt,
                input_digest=unit.lease.input_digest,
                input_path=self._spool.input_path(unit.token),
                output_path=self._spool.output_path(unit.token),
            )
        )
        fail_point("unit_given")

    def _hear(self, event: RunnerEvent, now: float) -> list[UnitDone | UnitFailed]:
        match event:
            case RunnerReady():
                self._is_ready = True
                self._began_at = now
                self.walls = dict(event.confinement)
                self._log.info("runner_ready", seconds=round(event.load_seconds, 3), **event.confinement)
            case UnitStarted():
                self._current, self._began_at, self.rows_done = event.token, now, 0
                fail_point("unit_started")
            case UnitProgress():
                self.rows_done = event.rows_done
                self._log.debug("block_done", token=event.token, rows_done=event.rows_done)
                fail_point("block_done")
            case UnitDone() | UnitFailed() if event.token in self._given:
                return self._close(event, now)
            case RunnerFailed():
                return self._blame(event.reason, event.detail, everyone=True)
            case RunnerExited():
                return self._explain_exit(event)
        return []

    def _close(self, event: UnitDone | UnitFailed, now: float) -> list[UnitDone | UnitFailed]:
        del self._given[event.token]
        if isinstance(event, UnitDone):
            fail_point("output_written")
            seconds = now - self._began_at
            known = self.unit_seconds
            self.unit_seconds = seconds if known is None else known + SMOOTHING * (seconds - known)
        self._current, self._began_at = None, now
        return [event]

    def _explain_exit(self, event: RunnerExited) -> list[UnitDone | UnitFailed]:
        reason = _BLAME.get(event.reason, "run_failed" if self._is_ready else "model_load_failed")
        failed = self._blame(reason, f"the runner ended with {event.returncode}: {event.last_words}"[:300])
        if event.reason is not CrashReason.ENDED:
            self._note_crash(event.reason)
        if self._runner is not None:
            self._brake.detach(self._runner)
        self._clear()
        return failed

    def _note_crash(self, reason: CrashReason) -> None:
        if self._runner is not None:
            self._crashed(self._runner.settings.contract.model.sha256, reason)

    def _end_overdue(self, now: float) -> list[UnitDone | UnitFailed]:
        if self._runner is None or not self._given or self._stopped_at is not None:
            return []
        seconds_max = self._runner.settings.contract.limits.seconds
        if now - self._began_at <= seconds_max:
            return []
        failed = self._blame("timed_out", f"over {seconds_max} s of wall time")
        self._note_crash(CrashReason.PROCESSOR_TIME)
        self.kill()
        return failed

    def _blame(self, reason: str, detail: str, *, everyone: bool = False) -> list[UnitDone | UnitFailed]:
        """Return failures for the unit that was running (else the first in the pipe), or for all of them."""
        first = self._current or next(iter(self._given), None)
        guilty = list(self._given) if everyone else [first] if first else []
        if guilty:
            self._log.warning("runner_failed", reason=reason, detail=detail, units=len(guilty))
        for token in guilty:
            del self._given[token]
        return [UnitFailed(token=token, reason=reason, detail=detail) for token in guilty]

    def _clear(self) -> None:
        self._runner = None
        self._is_ready = False
        self._given.clear()
        self._current = None
        self.rows_done = 0
