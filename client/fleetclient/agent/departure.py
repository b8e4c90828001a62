"""What happens when the car leaves and comes back: first the runner is frozen, then what it had is kept or given up.

Journal moves here, through `returns`: HELD -> RETURNING.
"""

from __future__ import annotations

from fleetclient.agent.absence import list_units_to_hand_back
from fleetclient.agent.parts import Parts
from fleetclient.agent.returns import Returns
from fleetclient.failpoints import fail_point
from fleetclient.units import UnitState
from fleetclient.vehicle.source import VehicleState

# The car is about to be fit for work: nothing is given up for that.
SETTLING = frozenset({"settling"})
# After a start nothing was heard of the car yet, and perhaps not of the fleet: no news is no departure for so long.
START_SECONDS_MAX = 120.0
NO_NEWS = SETTLING | {"signal_stale", "suspended_ops"}


class Departure:
    """Follows the car. `state` is what it last said."""

    def __init__(self, parts: Parts, returns: Returns, *, now: float) -> None:
        self._began_at = now
        self._was_heard = False
        self._parts = parts
        self._returns = returns
        self.state = VehicleState(eligible=True)

    def watch(self, now: float) -> bool:
        """Freeze or release the runner as the car says; return True when work was given up, which is urgent."""
        presses = self._parts.brake.presses
        before, self.state = self.state, self._parts.source.read(now)
        if not self.state.eligible:
            # No more cycles, before anything else. The guard was usually faster.
            self._parts.workshop.stop(now)
            fail_point("brake_pressed")
        elif not self._parts.workshop.resume(now, presses=presses):
            # It left again while we looked. The guard has woken us for another pass.
            return False
        if before.eligible != self.state.eligible:
            self._log()
        if self.state.eligible:
            self._was_heard = True
            return False
        self._parts.workshop.free_frozen(now)
        if self._is_about_to_begin(now):
            return False
        self._was_heard = True
        self._parts.timesheet.end(self.state.reasons[0])
        return self._leave_units(now)

    def _log(self) -> None:
        event = "eligible" if self.state.eligible else "ineligible"
        self._parts.log.info(event, reasons=self.state.reasons, absent_seconds=self.state.absent_seconds)

    def _leave_units(self, now: float) -> bool:
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
            self._returns.give_back(leaving, self.state.reasons[0])
        return bool(leaving)

    def _is_about_to_begin(self, now: float) -> bool:
        """Return True while the car's no is one of waiting and not of leaving."""
        reasons = set(self.state.reasons)
        is_new = not self._was_heard and now - self._began_at < START_SECONDS_MAX
        return reasons <= SETTLING or (is_new and reasons <= NO_NEWS)
