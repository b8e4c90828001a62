"""The server's copy of the owner's rules at work: an evening of a car, walked through as an owner's page would.

That it decides as the car does is pinned in tests/contract/rules/; the invariants are the client's tests'.
"""

from __future__ import annotations

import pytest

from workunits.domain.errors import FleetError
from workunits.domain.owner_rules.decision import Memory, Now
from workunits.domain.owner_rules.eligibility import evaluate
from workunits.domain.owner_rules.rules import RulesInvalid, read_rules
from workunits.domain.owner_rules.signals import Reading, Signals
from workunits.domain.owner_rules.tighten import tighten

EVENING = 1_790_000_000.0  # Monday 2026-09-21, 21:13:20 in Ho Chi Minh City
GOOD = {
    "parked": True, "plugged_in": True, "charging": False, "soc_pct": 80.0, "at_home": True, "on_home_wifi": True,
    "user_present": False, "cabin_temp_c": 27.0, "updating": False,
}  # fmt: skip


def test_an_evening_is_walked_through_in_as_many_steps_as_it_has_changes():
    rules = read_rules({"time_zone": "Asia/Ho_Chi_Minh", "windows": "night", "other_stale_seconds": 3600})
    elapsed, memory = 0.0, Memory()
    verdicts: list[tuple[float, bool, tuple[str, ...]]] = []
    while elapsed < 12 * 3600:
        signals = Signals({name: Reading(value, elapsed, "page") for name, value in GOOD.items()})
        decision = evaluate(signals, rules, Now(unix=EVENING + elapsed, elapsed=elapsed), memory=memory)
        if not verdicts or verdicts[-1][1:] != (decision.allow, decision.reasons):
            verdicts.append((elapsed, decision.allow, decision.reasons))
        elapsed, memory = elapsed + decision.next_check_seconds, decision.memory
    assert verdicts == [
        (0.0, False, ("outside_hours",)),
        (2800.0, False, ("settling",)),  # 22:00
        (2860.0, True, ()),
        (31_600.0, False, ("outside_hours",)),  # 06:00
    ]


def test_a_page_refuses_rules_with_the_servers_own_error():
    with pytest.raises(FleetError, match="did you mean windows") as refused:
        read_rules({"window": "night"})
    assert isinstance(refused.value, RulesInvalid)
    assert refused.value.code == "rules_invalid"


def test_an_operator_can_take_away_and_not_give():
    night = read_rules({"time_zone": "Asia/Ho_Chi_Minh", "windows": "night", "start_soc_pct": 80})
    weekend = read_rules({"time_zone": "Asia/Ho_Chi_Minh", "windows": "weekend", "stop_soc_pct": 60})
    both = tighten(night, weekend)
    assert (both.start_soc_pct, both.stop_soc_pct) == (80.0, 65.0)
    assert both.windows == ((), (), (), (), (), *(((0, 360, 1.0), (1320, 1440, 1.0)),) * 2)
