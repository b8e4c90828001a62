"""One pass of the agent's loop: settle what ended, watch the car, start what can start.

`step` reads no clock, never waits, and does all network in the background, so that a departure is noticed at the next
pass whatever is going on. Journal moves here: HELD -> FINISHED, HELD -> RETURNING.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from fleetclient.agent.admission import TRUST
from fleetclient.agent.background import Ended
from fleetclient.agent.courier import Courier
from fleetclient.agent.departure import Departure
from fleetclient.agent.pace import Shyness, count_units_to_hold
from fleetclient.agent.parts import Parts
from fleetclient.agent.returns import Returns
from fleetclient.agent.syncing import SYNC, Syncing
from fleetclient.errors import ClientError
from fleetclient.failpoints import fail_point
from fleetclient.network import VehicleRevoked
from fleetclient.runner.jobs import UnitDone, UnitFailed, fits_a_message
from fleetclient.units import Result, Unit, UnitState
from fleetclient.vehicle.source import VehicleState
from fleetclient.wire import Capacity, HandBack

STEP_SECONDS_MIN = 0.005
# The loop is woken by whatever happens. A pass is made this often all the same: it costs less than a millisecond.
STEP_SECONDS_MAX = 5.0
LAST_SYNC_SECONDS_MAX = 5.0


class Revoked(ClientError):
    """This car was removed from the fleet; the agent has stopped for good."""

    code: ClassVar[str] = "revoked"


class Agent:
    """A car at work. `completed_count` counts units finished since the start."""

    def __init__(self, parts: Parts, *, now: float) -> None:
        self._parts = parts
        self._returns = Returns(parts)
        self._courier = Courier(parts)
        self._departure = Departure(parts, self._returns, now=now)
        self._shyness = Shyness()
        self.syncing = Syncing(parts, now=now)
        self.completed_count = 0

    @property
    def parts(self) -> Parts:
        """What this agent is made of."""
        return self._parts

    @property
    def state(self) -> VehicleState:
        """What the car last said."""
        return self._departure.state

    def step(self, now: float) -> float:
        """Do what can be done at `now` (boot clock); return the seconds until the next pass is wanted.

        Raises Revoked after the server has removed this car.
        """
        parts = self._parts
        self._settle_background(parts.background.collect(), now)
        self._settle_runner(now)
        parts.timesheet.note(now, is_working=parts.workshop.is_working)
        if self._departure.watch(now):
            self.syncing.pace.hurry()
        self._drop_overdue(now)
        self._refuse_held(now)
        self._courier.start(now=now, may_fetch=self.state.eligible)
        if self.state.eligible:
            parts.workshop.feed(self._courier.list_ready(), now=now)
        if self.syncing.is_due(now):
            self._send_sync(now, self.state)
        parts.chores.start(now)
        return self._seconds_to_next_step(now)

    def shut_down(self, now: float, *, reason: str = "shutting_down", keeps_work: bool = False) -> None:
        """End the runner, hand back what is held unless it is to be kept, and say so to the server.

        Takes at most a little over `LAST_SYNC_SECONDS_MAX`; what the server could not be told is in the journal.
        """
        background = self._parts.background
        self._settle_runner(now)
        self._parts.workshop.kill()
        self._parts.timesheet.end(reason)
        if background.is_busy(SYNC):  # it may bring leases, which have to go back as well
            self._settle_background(background.collect(LAST_SYNC_SECONDS_MAX / 2), now)
        if self._parts.config.on_stop == "hand_back" and not keeps_work:
            self._returns.give_back(self._parts.journal.list_units(UnitState.HELD), reason)
        if not background.is_busy(SYNC) and not self.syncing.is_offline:
            self._send_sync(now, VehicleState(eligible=False, reasons=(reason,)))
            self._settle_background(background.collect(LAST_SYNC_SECONDS_MAX / 2), now)

    def _settle_background(self, ended_calls: Iterable[Ended], now: float) -> None:
        for ended in ended_calls:
            if isinstance(ended.error, VehicleRevoked):
                self._parts.workshop.kill()
                raise Revoked("this car was removed from the fleet") from None
            if ended.kind == SYNC:
                self._settle_sync(ended, now)
            elif ended.kind == TRUST:
                self._settle_trust(ended)
            elif self._parts.chores.owns(ended.kind):
                self._parts.chores.settle(ended, now)
            elif hand_back := self._courier.settle(ended, now=now):
                self._returns.write([hand_back])

    def _settle_sync(self, ended: Ended, now: float) -> None:
        changes = self.syncing.settle(ended, now)
        if changes is not None:
            self._parts.heard(changes.answer)
            refusals = [refusal for unit in changes.leased if (refusal := self._refuse(unit))]
            self._returns.write(refusals)
            self._returns.give_up_kept(changes.surplus)
            self._shyness.leased(len(changes.leased), refused=len(refusals), now=now)

    def _settle_trust(self, ended: Ended) -> None:
        if ended.error is not None and not isinstance(ended.error, ClientError | OSError):
            raise ended.error
        if ended.error is not None:
            self._parts.log.warning("trust_not_refreshed", error=str(ended.error))
        self._parts.news()

    def _refuse(self, unit: Unit) -> HandBack | None:
        needed, granted = unit.contract.limits.memory_bytes, self._parts.config.memory_bytes_reported
        if needed > granted:
            detail = f"needs {needed} bytes of memory, the owner grants {granted}"
            return HandBack(token=unit.token, kind="returned", reason="not_wanted", detail=detail)
        if not fits_a_message(unit.contract):
            detail = "its contract is longer than what a runner can be told"
            return HandBack(token=unit.token, kind="error", reason="model_load_failed", detail=detail)
        return self._parts.admission.refuse(unit)

    def _refuse_held(self, now: float) -> None:
        """Give up what the repository, asked in the meantime, does not list, or what has crashed too often by now."""
        held = self._parts.journal.list_units(UnitState.HELD)
        refusals = [refusal for unit in held if (refusal := self._parts.admission.refuse(unit))]
        if refusals:
            self._parts.workshop.discard([refusal.token for refusal in refusals])
            self._returns.write(refusals)
            self._shyness.leased(len(refusals), refused=len(refusals), now=now)
        self._parts.admission.start(self._parts.journal.list_units(UnitState.HELD), now=now)

    def _settle_runner(self, now: float) -> None:
        for ended in self._parts.workshop.collect(now):
            if isinstance(ended, UnitDone):
                self._finish(ended)
            else:
                self._fail(ended)

    def _finish(self, done: UnitDone) -> None:
        result = Result(
            digest=done.digest,
            output_bytes=done.output_bytes,
            cpu_seconds=done.cpu_seconds,
            sketch=bytes.fromhex(done.sketch),
        )
        if not self._parts.journal.finish(done.token, result):
            self._parts.spool.drop(done.token)
            return
        fail_point("result_journaled")
        self._parts.spool.drop_input(done.token)
        fail_point("result_kept")
        unit = self._parts.journal.get(done.token)
        self._parts.timesheet.unit_finished(unit.lease.rows if unit else 0)
        self.completed_count += 1
        self._parts.log.info("finished", token=done.token, bytes=done.output_bytes, seconds=round(done.cpu_seconds, 3))

    def _fail(self, failed: UnitFailed) -> None:
        self._returns.write([HandBack(token=failed.token, kind="error", reason=failed.reason, detail=failed.detail)])

    def _drop_overdue(self, now: float) -> None:
        """Give up what the server has given to another car by now; it needs no hurry."""
        held = self._parts.journal.list_units(UnitState.HELD)
        overdue = [unit for unit in held if unit.deadline_at is not None and unit.deadline_at < now]
        if overdue:
            self._returns.give_back(overdue, "not_wanted")

    def _send_sync(self, now: float, state: VehicleState) -> None:
        self.syncing.send(
            now,
            state=state,
            capacity=Capacity(
                replicas=self._count_wanted(now) if state.eligible else 0,
                memory_bytes=self._parts.config.memory_bytes_reported,
                opset_max=self._parts.opset_max,
            ),
        )

    def _count_wanted(self, now: float) -> int:
        if self.state.is_finishing or self._shyness.is_shy(now) or not self._parts.cache.has_disk_to_spare():
            return 0
        target = count_units_to_hold(
            next_sync_seconds=self.syncing.pace.next_sync_seconds,
            unit_seconds=self._parts.workshop.unit_seconds,
            replicas_max=self._parts.config.limits.replicas,
        )
        return max(0, target - len(self._parts.journal.list_units(UnitState.HELD)))

    def _seconds_to_next_step(self, now: float) -> float:
        dues = [self._parts.workshop.due_at(), self._courier.due_at(may_fetch=self.state.eligible)]
        dues += [unit.deadline_at for unit in self._parts.journal.list_units(UnitState.HELD) if unit.deadline_at]
        if not self._parts.background.is_busy(SYNC):
            dues.append(self.syncing.pace.due_at())
        waits = (self._parts.admission.seconds_until_due(now), self._parts.chores.seconds_until_due(now))
        wait = min(min(dues) - now, *waits, STEP_SECONDS_MAX)
        return max(STEP_SECONDS_MIN, wait)
