"""What must hold for all rules, signals and moments."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fleetclient.rules.decision import LocalFacts, Memory, Now
from fleetclient.rules.eligibility import CHECK_MAX_SECONDS, CHECK_MIN_SECONDS, evaluate
from fleetclient.rules.rules import Rules, dump_rules, read_rules
from fleetclient.rules.sentences import REASON_ORDER
from fleetclient.rules.tighten import LOOSEST, tighten
from fleetclient.rules.week import NEVER, NIGHT
from fleetclient.vehicle.signals import Reading, Signals
from tests.client.rules import strategies as some

REQUIRED = ("parked", "plugged_in", "soc_pct", "user_present", "updating")
# An instant on the unix clock has a quarter of a microsecond.
ROUNDING = 1e-5


@st.composite
def scenes(draw: st.DrawFn, *, odd: bool = False) -> dict[str, Any]:
    now = draw(some.moments())
    return {
        "signals": draw(some.signals(odd=odd)),
        "now": now,
        "facts": draw(some.facts(unix=now.unix)),
        "memory": draw(some.memories()),
    }


def later(now: Now, seconds: float) -> Now:
    return Now(unix=now.unix + seconds, elapsed=now.elapsed + seconds)


@settings(max_examples=400)
@given(scene=scenes(), rules=some.rules(), samples=st.lists(st.floats(0, 1), min_size=3, max_size=6))
def test_the_verdict_stays_what_it_is_until_the_next_check(scene, rules, samples):
    decision = evaluate(scene["signals"], rules, scene["now"], facts=scene["facts"], memory=scene["memory"])
    assume(decision.next_check_seconds > CHECK_MIN_SECONDS)
    end = decision.next_check_seconds - ROUNDING
    chained = decision.memory
    for seconds in [*sorted(sample * end for sample in samples), end]:
        now = later(scene["now"], seconds)
        straight = evaluate(scene["signals"], rules, now, facts=scene["facts"], memory=decision.memory)
        asked_often = evaluate(scene["signals"], rules, now, facts=scene["facts"], memory=chained)
        chained = asked_often.memory
        assert straight.allow == asked_often.allow == decision.allow, seconds


@settings(max_examples=300)
@given(scene=scenes(), rules=some.rules())
def test_who_asks_only_when_told_misses_no_change(scene, rules):
    """Walk on by `next_check_seconds`, and by small steps beside it: both see the same verdicts."""
    now, memory = scene["now"], scene["memory"]
    for _ in range(6):
        decision = evaluate(scene["signals"], rules, now, facts=scene["facts"], memory=memory)
        step = decision.next_check_seconds
        if step > CHECK_MIN_SECONDS:
            for part in (0.25, 0.5, 0.99999):
                between = evaluate(
                    scene["signals"], rules, later(now, part * step), facts=scene["facts"], memory=decision.memory
                )
                assert between.allow == decision.allow
        now, memory = later(now, step), decision.memory


@settings(max_examples=500)
@given(
    scene=scenes(odd=True), rules=some.rules(), unix=some.odd_moments, elapsed=some.odd_moments, strange=st.booleans()
)
def test_whatever_is_asked_there_is_a_whole_answer(scene, rules, unix, elapsed, strange):
    now = Now(unix=unix, elapsed=elapsed) if strange else scene["now"]
    decision = evaluate(scene["signals"], rules, now, facts=scene["facts"], memory=scene["memory"])
    closed = {gate.reason for gate in decision.gates if not gate.is_open}
    assert CHECK_MIN_SECONDS <= decision.next_check_seconds <= CHECK_MAX_SECONDS
    assert decision.allow == (not decision.reasons) == decision.memory.was_allowed
    assert set(decision.reasons) == closed
    assert list(decision.reasons) == sorted(decision.reasons, key=list(REASON_ORDER).index)
    assert all(gate.detail and bool(gate.reason) is not gate.is_open for gate in decision.gates)
    assert len({gate.name for gate in decision.gates}) == len(decision.gates)
    assert decision.until_unix is None or decision.until_unix >= now.unix
    if strange and not (1.7e9 < unix < 4.2e9 and math.isfinite(elapsed)):
        assert not decision.allow


@settings(max_examples=300)
@given(
    scene=scenes(),
    rules=some.rules(),
    name=st.sampled_from(REQUIRED),
    how=st.sampled_from(["gone", "none", "old", "odd"]),
)
def test_nothing_is_allowed_without_a_signal_that_is_required(scene, rules, name, how):
    readings = dict(scene["signals"].readings)
    limit = (
        rules.presence_stale_seconds if name in ("parked", "plugged_in", "user_present") else rules.other_stale_seconds
    )
    readings[name] = {
        "none": Reading(None, some.ELAPSED, "test"),
        "old": Reading(some.GOOD[name], some.ELAPSED - limit, "test"),
        "odd": Reading(math.nan, some.ELAPSED, "test"),
        "gone": Reading(some.GOOD[name], some.ELAPSED + 60, "test"),
    }[how]
    if how == "gone":
        del readings[name]
    decision = evaluate(Signals(readings), rules, scene["now"], facts=scene["facts"], memory=scene["memory"])
    assert not decision.allow
    assert "signal_stale" in decision.reasons


@settings(max_examples=300)
@given(scene=scenes(), rules=some.rules(), older=st.lists(st.floats(0, 2000), min_size=12, max_size=12))
def test_older_news_never_opens_a_gate(scene, rules, older):
    readings = scene["signals"].readings
    past = {name: replace(item, observed_at=min(item.observed_at, some.ELAPSED)) for name, item in readings.items()}
    aged = {
        name: replace(item, observed_at=item.observed_at - seconds)
        for (name, item), seconds in zip(past.items(), older, strict=False)
    }
    gates = [
        evaluate(Signals(heard), rules, scene["now"], facts=scene["facts"], memory=scene["memory"]).gates
        for heard in (past, aged)
    ]
    opened = [
        new.name for old, new in zip(*gates, strict=True) if new.is_open and not old.is_open and new.name != "settled"
    ]
    assert opened == []


@settings(max_examples=500)
@given(data=st.data(), scene=scenes(), zone=st.sampled_from(some.ZONES))
def test_the_server_can_only_tighten(data, scene, zone):
    local, server = data.draw(some.rules(zone=zone)), data.draw(some.rules(zone=zone))
    both = tighten(local, server)

    def decide(rules: Rules) -> bool:
        return evaluate(scene["signals"], rules, scene["now"], facts=scene["facts"], memory=scene["memory"]).allow

    if decide(both):
        assert decide(local)
        assert decide(server)


@settings(max_examples=300)
@given(data=st.data(), zone=st.sampled_from(some.ZONES))
def test_tightening_twice_or_the_other_way_round_changes_no_limit(data, zone):
    one, two, three = (data.draw(some.rules(zone=zone)) for _ in range(3))
    assert tighten(one, one) == one
    assert tighten(tighten(one, two), two) == tighten(one, two)

    def limits(rules: Rules) -> Rules:
        return replace(rules, currency="", price_per_kwh=0.0, price_table=NEVER)

    assert limits(tighten(one, two)) == limits(tighten(two, one))
    assert limits(tighten(tighten(one, two), three)) == limits(tighten(one, tighten(two, three)))


@given(rules=some.rules())
def test_a_server_that_says_nothing_changes_nothing(rules):
    assert tighten(rules, LOOSEST) == rules == tighten(LOOSEST, rules)
    assert tighten(rules, read_rules({}, base=LOOSEST)) == rules


@settings(max_examples=300)
@given(local=some.rules(), server=some.rules())
def test_hours_and_prices_of_both_meet_exactly(local, server):
    both = tighten(local, server)
    for day in range(7):
        for minute in range(0, 1440, 7):
            laid = [bool(some_find(rules.windows[day], minute)) for rules in (local, server, both)]
            assert laid[2] == (laid[0] and laid[1])
            quiet = [bool(some_find(rules.quiet_hours[day], minute)) for rules in (local, server, both)]
            assert quiet[2] == (quiet[0] or quiet[1])


def some_find(spans: tuple[tuple[int, int, float], ...], minute: int) -> float:
    return sum(value for start, end, value in spans if start <= minute < end)


@settings(max_examples=400)
@given(rules=some.rules())
def test_what_is_dumped_is_read_back_also_through_json(rules):
    document = dump_rules(rules)
    assert read_rules(document) == rules
    assert read_rules(json.loads(json.dumps(document))) == rules
    assert list(document) == [item.name for item in fields(Rules)]


def test_the_defaults_are_read_from_nothing():
    assert read_rules({}) == Rules() == read_rules(dump_rules(Rules()))


@pytest.mark.parametrize(
    "name", [item.name for item in fields(Rules) if item.name not in ("price_table", "away_until")]
)
def test_each_field_is_tightened(name):
    """A field that `tighten` forgot would silently take its default."""
    odd: dict[str, Any] = {
        "ready_by": ((1,),) * 7, "windows": NIGHT, "quiet_hours": NIGHT, "time_zone": "Asia/Kathmandu",
        "currency": "NPR", "away_mode": "valet", "start_soc_pct": 71.0, "stop_soc_pct": 64.0,
    }  # fmt: skip
    default = getattr(Rules(), name)
    value: Any = odd[name] if name in odd else not default if isinstance(default, bool) else (default or 0.0) + 1.0
    values: dict[str, Any] = {"time_zone": "UTC", "price_per_kwh": 1.0, name: value}
    rules = Rules(**values)
    assert getattr(tighten(rules, rules), name) == value


@given(memory=some.memories(), rules=some.rules())
def test_the_default_memory_and_facts_are_those_of_a_car_that_was_just_started(memory, rules):
    now = Now(unix=1_790_000_000.0, elapsed=some.ELAPSED)
    assert evaluate(Signals(), rules, now) == evaluate(Signals(), rules, now, facts=LocalFacts(), memory=Memory())
    assert evaluate(Signals(), rules, now, memory=memory).allow is False
