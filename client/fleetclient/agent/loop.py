"""One pass of the agent's loop: settle what ended, watch the car, start what can start.

`step` reads no clock, never waits, and does all network in the background, so that a departure is noticed at the next
pass whatever is going on. Journal moves here: HELD -> FINISHED, HELD -> RETURNING.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from fleetclient.agent.absence import list_units_to_hand_back
from fleetclient.agent.background import Ended
from fleetclient.agent.courier import Courier
from fleetclient.agent.exchange import COMMITMENTS_PER_SYNC_MAX, apply_answer, build_sync, log_changes
from fleetclient.agent.pace import Pace, count_units_to_hold
from fleetclient.agent.parts import Parts
from fleetclient.errors import ClientError
from fleetclient.failpoints import fail_point
from fleetclient.network import ServerRefused, VehicleRevoked
from fleetclient.runner.jobs import UnitDone, UnitFailed
from fleetclient.units import Result, Unit, UnitState
from fleetclient.vehicle.source import VehicleState
from fleetclient.wire import Capacity, HandBack, SyncAnswer, encode_sync_request

SYNC = "sync"
WORKING_POLL_SECONDS = 0.1
IDLE_POLL_SECONDS = 0.25
STEP_SECONDS_MIN = 0.005
OPSET_MAX = 23
LAST_SYNC_SECONDS_MAX = 5.0


class Revoked(ClientError):
    """This car was removed from the fleet; the agent has stopped for good."""

    code: ClassVar[str] = "revoked"


class Agent:
    """A car at work. `completed_count` counts units finished since the start."""

    def __init__(self, parts: Parts, *, now: float) -> None:
        self._parts = parts
        self._courier = Courier(parts)
        self._pace = Pace(now=now)
        self._commitments_max = COMMITMENTS_PER_SYNC_MAX
        self._sync_began_at = now
        self.state = VehicleState(eligible=True)
        self.completed_count = 0
        self.is_offline = False

    @property
    def parts(self) -> Parts:
        """What this agent is made of."""
        return self._parts

    def step(self, now: float) -> float:
        """Do what can be done at `now` (boot clock); return the seconds until the next pass is wanted.

        Raises Revoked after the server has removed this car.
        """
        self._settle_background(self._parts.background.collect(), now)
        self._settle_runner(now)
        self._watch_vehicle(now)
        self._drop_overdue(now)
        self._courier.start(now=now, may_fetch=self.state.eligible)
        if self.state.eligible:
            self._parts.workshop.feed(self._courier.list_ready(), now=now)
        self._start_sync(now)
        return self._seconds_to_next_step(now)

    def shut_down(self, now: float) -> None:
        """End the runner, hand back what is held unless the owner wants it kept, and say so to the server.

        Takes at most a little over `LAST_SYNC_SECONDS_MAX`; what the server could not be told is in the journal.
        """
        self._settle_runner(now)
        self._parts.workshop.kill()
        background = self._parts.background
        if background.is_busy(SYNC):  # it may bring leases, which have to go back as well
            self._settle_background(background.collect(LAST_SYNC_SECONDS_MAX / 2), now)
        if self._parts.config.on_stop == "hand_back":
            self._give_back(self._parts.journal.list_units(UnitState.HELD), "shutting_down")
        self.state = VehicleState(eligible=False, reasons=("shutting_down",))
        if not background.is_busy(SYNC) and not self.is_offline:
            self._send_sync(now)
            self._settle_background(background.collect(LAST_SYNC_SECONDS_MAX / 2), now)

    def _settle_background(self, ended_calls: Iterable[Ended], now: float) -> None:
        for ended in ended_calls:
            if isinstance(ended.error, VehicleRevoked):
                self._parts.workshop.kill()
                raise Revoked("this car was removed from the fleet") from None
            if ended.kind == SYNC:
                self._settle_sync(ended, now)
            elif hand_back := self._courier.settle(ended, now=now):
                self._write_hand_backs([hand_back])

    def _settle_sync(self, ended: Ended, now: float) -> None:
        if isinstance(ended.value, SyncAnswer):
            self._accept(ended.value, now)
            return
        error = ended.error
        if not isinstance(error, ClientError):
            raise error or TypeError("a sync ended without an answer")
        if isinstance(error, ServerRefused) and error.problem == "body_too_large":
            self._commitments_max = max(1, self._commitments_max // 2)
        retry_after = error.retry_after_seconds if isinstance(error, ServerRefused) else None
        wait = self._pace.failed(now, retry_after)
        self.is_offline = True
        self._parts.log.warning("sync_failed", error=str(error), code=error.code, retry_seconds=round(wait, 2))

    def _accept(self, answer: SyncAnswer, now: float) -> None:
        # The lease began on the server before the answer came; counting from the request is never too late.
        changes = apply_answer(answer, journal=self._parts.journal, now=self._sync_began_at)
        self._parts.workshop.cancel(changes.cancelled)
        for token in (*changes.stored, *changes.refused, *changes.cancelled):
            self._parts.spool.drop(token)
        self._pace.answered(now, answer.next_sync_seconds)
        self.is_offline = False
        log_changes(changes, self._parts.log)
        for message in answer.messages:
            self._parts.log.info("message", code=message.code, text=message.text)
        self._write_hand_backs([refusal for unit in changes.leased if (refusal := self._refuse(unit))])

    def _refuse(self, unit: Unit) -> HandBack | None:
        needed, granted = unit.contract.limits.memory_bytes, self._parts.config.memory_bytes_reported
        if needed <= granted:
            return None
        detail = f"needs {needed} bytes of memory, the owner grants {granted}"
        return HandBack(token=unit.token, kind="returned", reason="not_wanted", detail=detail)

    def _settle_runner(self, now: float) -> None:
        for ended in self._parts.workshop.collect(now):
            if isinstance(ended, UnitDone):
                self._finish(ended)
            else:
                self._fail(ended)

    def _finish(self, done: UnitDone) -> None:
        result = Result(digest=done.digest, output_bytes=done.output_bytes, cpu_seconds=done.cpu_seconds)
        if not self._parts.journal.finish(done.token, result):
            self._parts.spool.drop(done.token)
            return
        fail_point("result_journaled")
        self._parts.spool.drop_input(done.token)
        self.completed_count += 1
        self._parts.log.info("finished", token=done.token, bytes=done.output_bytes, seconds=round(done.cpu_seconds, 3))

    def _fail(self, failed: UnitFailed) -> None:
        back = HandBack(token=failed.token, kind="error", reason=failed.reason, detail=failed.detail)
        self._write_hand_backs([back])

    def _watch_vehicle(self, now: float) -> None:
        before, self.state = self.state, self._parts.source.read(now)
        if before.eligible != self.state.eligible:
            self._parts.log.info("eligible" if self.state.eligible else "ineligible", reasons=self.state.reasons)
        if self.state.eligible:
            self._parts.workshop.resume(now)
        else:
            # First no more cycles, then the question of what to keep. (The log line before costs microseconds.)
            self._parts.workshop.stop(now)
            self._leave_units(now)

    def _leave_units(self, now: float) -> None:
        held = self._parts.journal.list_units(UnitState.HELD)
        leaving = list_units_to_hand_back(
            held,
            now=now,
            absent_seconds=self.state.absent_seconds,
            unit_seconds=self._parts.workshop.unit_seconds,
            hand_back=self._parts.config.vehicle.hand_back,
        )
        if len(leaving) == len(held):
            self._parts.workshop.kill()  # nothing is kept that it could go on with
        if leaving:
            self._give_back(leaving, self.state.reasons[0])
            self._pace.hurry()

    def _give_back(self, units: list[Unit], reason: str) -> None:
        self._parts.workshop.discard([unit.token for unit in units])
        self._write_hand_backs([HandBack(token=unit.token, kind="returned", reason=reason) for unit in units])

    def _drop_overdue(self, now: float) -> None:
        """Give up what the server has given to another car by now; it needs no hurry."""
        held = self._parts.journal.list_units(UnitState.HELD)
        overdue = [unit for unit in held if unit.deadline_at is not None and unit.deadline_at < now]
        if overdue:
            self._give_back(overdue, "not_wanted")

    def _write_hand_backs(self, items: list[HandBack]) -> None:
        if not items:
            return
        moved = self._parts.journal.hand_back(items)
        fail_point("return_journaled")
        for item in moved:
            self._parts.spool.drop(item.token)
            self._parts.log.info(
                "handed_back", token=item.token, kind=item.kind, reason=item.reason, detail=item.detail
            )

    def _start_sync(self, now: float) -> None:
        if now >= self._pace.due_at() and not self._parts.background.is_busy(SYNC):
            self._send_sync(now)

    def _send_sync(self, now: float) -> None:
        parts = self._parts
        request = build_sync(
            journal=parts.journal,
            spool=parts.spool,
            agent=parts.info,
            state=self.state,
            capacity=Capacity(
                replicas=self._count_wanted(),
                memory_bytes=parts.config.memory_bytes_reported,
                opset_max=OPSET_MAX,
            ),
            models=parts.cache.list_models(),
            commitments_max=self._commitments_max,
        )
        self._pace.began(now)
        self._sync_began_at = now
        parts.background.start(SYNC, partial(parts.network.sync, encode_sync_request(request)))

    def _count_wanted(self) -> int:
        if not self.state.eligible:
            return 0
        target = count_units_to_hold(
            next_sync_seconds=self._pace.next_sync_seconds,
            unit_seconds=self._parts.workshop.unit_seconds,
            replicas_max=self._parts.config.limits.replicas,
        )
        return max(0, target - len(self._parts.journal.list_units(UnitState.HELD)))

    def _seconds_to_next_step(self, now: float) -> float:
        # Ended calls and runner events wake the loop by themselves; the car and the clock have to be looked at.
        poll = WORKING_POLL_SECONDS if self._parts.workshop.runner else IDLE_POLL_SECONDS
        if self._parts.background.is_busy(SYNC):
            return poll
        return min(poll, max(STEP_SECONDS_MIN, self._pace.due_at() - now))
