"""Whether the car may compute now: one pure function of signals, rules and time, and what it remembers.

Every gate must be open, and must have been for `start_after_seconds` before work begins; it stops at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from fleetclient.rules import gates_car, gates_energy, gates_heat, gates_hours, gates_limits
from fleetclient.rules.decision import Decision, Gate, LocalFacts, Memory, Now
from fleetclient.rules.rules import Rules
from fleetclient.rules.scene import Finding, Scene
from fleetclient.rules.sentences import REASON_ORDER, say
from fleetclient.vehicle.signals import Signals

# Nobody need ask more often than this, nor be trusted to ask more seldom.
CHECK_MIN_SECONDS: Final = 0.2
CHECK_MAX_SECONDS: Final = 300.0
HOURS: Final = frozenset({"windows", "quiet_hours", "price"})
_JUDGES: Final[tuple[Callable[[Scene], Finding], ...]] = (
    gates_limits.judge_pause,
    gates_limits.judge_away,
    gates_car.judge_parked,
    gates_car.judge_user,
    gates_car.judge_updating,
    gates_limits.judge_confined,
    gates_car.judge_plugged_in,
    gates_limits.judge_clock,
    gates_car.judge_network,
    gates_energy.judge_soc,
    gates_energy.judge_socket,
    gates_energy.judge_ready,
    gates_car.judge_charger,
    gates_heat.judge_cabin,
    gates_heat.judge_pack,
    gates_heat.judge_device,
    gates_limits.judge_data_day,
    gates_limits.judge_data_month,
    gates_limits.judge_hours_cap,
    gates_hours.judge_windows,
    gates_hours.judge_quiet,
    gates_hours.judge_price,
    gates_limits.judge_net,
    gates_car.judge_sentry,
    gates_limits.judge_finishing,
)


def evaluate(
    signals: Signals,
    rules: Rules,
    now: Now,
    *,
    facts: LocalFacts = LocalFacts(),  # noqa: B008 - frozen
    memory: Memory = Memory(),  # noqa: B008 - frozen
) -> Decision:
    """Return the verdict at one moment. Raises nothing, whatever it is asked.

    While nothing new is heard, `allow` stays what it is for `next_check_seconds`, to within a microsecond of rounding;
    where that is the smallest value, 0.2, it may change up to 0.2 s earlier.
    """
    scene = Scene(signals=signals, rules=rules, now=now, facts=facts, memory=memory)
    findings = [judge(scene) for judge in _JUDGES]
    is_open = all(finding.gate.is_open for finding in findings)
    since = _get_open_since(scene) if is_open else None
    findings.append(_judge_settled(scene, since))
    gates = tuple(finding.gate for finding in findings)
    allow = all(gate.is_open for gate in gates)
    mark, has_fallen = gates_energy.follow_charge(scene)
    return Decision(
        allow=allow,
        reasons=_order_reasons(gates),
        gates=gates,
        next_check_seconds=_get_next_check(findings),
        until_unix=_find_end(findings) if allow else _find_start(scene, gates),
        memory=Memory(was_allowed=allow, open_since_elapsed=since, charge_mark_pct=mark, has_fallen=has_fallen),
    )


def _get_open_since(scene: Scene) -> float:
    """Return since when all gates have been open: from now on where nothing or a time to come is remembered."""
    since = scene.memory.open_since_elapsed
    return since if since is not None and since <= scene.now.elapsed else scene.now.elapsed


def _judge_settled(scene: Scene, since: float | None) -> Finding:
    wait = scene.rules.start_after_seconds
    if since is None:
        detail = f"Counts {wait:g} s from when all else is open."
        return Finding(gate=Gate(name="settled", is_open=True, detail=detail, limit=f">= {wait:g} s"))
    waited = scene.now.elapsed - since
    left, is_open = wait - waited, waited >= wait
    detail = f"All has been well for {wait:g} s." if is_open else say("settling", seconds=f"{math.ceil(left)}")
    gate = Gate(
        name="settled",
        is_open=is_open,
        reason="" if is_open else "settling",
        detail=detail,
        until_unix=None if is_open else scene.now.unix + left,
        value=f"{min(waited, wait):.0f} s",
        limit=f">= {wait:g} s",
    )
    return Finding(gate=gate, flips_in=math.inf if is_open else left)


def _order_reasons(gates: Sequence[Gate]) -> tuple[str, ...]:
    """Return each reason once, the most telling first: by the table of sentences."""
    return tuple(sorted({gate.reason for gate in gates if not gate.is_open}, key=REASON_ORDER.__getitem__))


def _get_next_check(findings: Sequence[Finding]) -> float:
    # A wait that is no number comes of a clock that is none, and says nothing.
    soonest = min((finding.flips_in for finding in findings if finding.flips_in >= 0), default=math.inf)
    return min(max(soonest, CHECK_MIN_SECONDS), CHECK_MAX_SECONDS)


def _find_end(findings: Sequence[Finding]) -> float | None:
    """Return when the first gate closes whatever is heard."""
    return min((end for finding in findings if (end := finding.closes_at_unix) is not None), default=None)


def _find_start(scene: Scene, gates: Sequence[Gate]) -> float | None:
    """Return the earliest moment at which work may begin, None when nobody knows.

    That is when the last of the closed gates opens, in hours that are then allowed, and all has settled.
    """
    closed = [gate for gate in gates if not gate.is_open]
    if [gate.name for gate in closed] == ["settled"]:
        return closed[0].until_unix
    opens_at = scene.now.unix
    for gate in closed:
        if gate.until_unix is None:
            return None
        opens_at = max(opens_at, gate.until_unix)
    found = gates_hours.find_open(scene.rules, opens_at)
    return None if found is None else found + scene.rules.start_after_seconds
