"""The client and the server's copy decide the same: against the golden cases, and their sources against each other."""

from __future__ import annotations

import datetime as dt
import json
import math
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import fleetclient.rules.decision
import fleetclient.rules.eligibility
import fleetclient.rules.rules
import fleetclient.rules.tighten
import fleetclient.vehicle.signals
import workunits.domain.owner_rules.decision
import workunits.domain.owner_rules.eligibility
import workunits.domain.owner_rules.rules
import workunits.domain.owner_rules.signals
import workunits.domain.owner_rules.tighten
from tests.contract.rules.copying import CLIENT, OWN, SERVER, get_copies
from tests.contract.rules.make_cases import CASES, GOOD, HAND_WRITTEN, decision_document, dump_cases, read_cases

CLIENT_SIDE = SimpleNamespace(
    **vars(fleetclient.rules.decision), evaluate=fleetclient.rules.eligibility.evaluate,
    read_rules=fleetclient.rules.rules.read_rules, tighten=fleetclient.rules.tighten.tighten,
    LOOSEST=fleetclient.rules.tighten.LOOSEST,
    Reading=fleetclient.vehicle.signals.Reading, Signals=fleetclient.vehicle.signals.Signals,
)  # fmt: skip
SERVER_SIDE = SimpleNamespace(
    **vars(workunits.domain.owner_rules.decision), evaluate=workunits.domain.owner_rules.eligibility.evaluate,
    read_rules=workunits.domain.owner_rules.rules.read_rules, tighten=workunits.domain.owner_rules.tighten.tighten,
    LOOSEST=workunits.domain.owner_rules.tighten.LOOSEST,
    Reading=workunits.domain.owner_rules.signals.Reading, Signals=workunits.domain.owner_rules.signals.Signals,
)  # fmt: skip
SIDES = pytest.mark.parametrize("side", [CLIENT_SIDE, SERVER_SIDE], ids=["client", "server"])
ELAPSED = 5000.0


def decide(side: Any, case: dict[str, Any]) -> Any:
    rules = side.read_rules(case["rules"])
    if case.get("server_rules") is not None:
        rules = side.tighten(rules, side.read_rules(case["server_rules"], base=side.LOOSEST))
    facts = dict(case["facts"])
    if facts.get("paused_until_unix") == "resumed":
        facts["paused_until_unix"] = math.inf
    heard = {name: side.Reading(value, observed_at, "golden") for name, (value, observed_at) in case["signals"].items()}
    return side.evaluate(
        side.Signals(heard), rules, side.Now(**case["now"]), facts=side.LocalFacts(**facts),
        memory=side.Memory(**case["memory"]),
    )  # fmt: skip


@SIDES
def test_every_recorded_decision_is_made_again_to_the_last_digit(side):
    cases = read_cases()
    assert len(cases) > 300
    for case in cases:
        assert decision_document(decide(side, case)) == case["decision"], case["name"]


def test_the_recorded_cases_are_those_that_the_generator_writes():
    assert CASES.read_text("utf-8") == dump_cases()


def test_the_recorded_cases_close_every_gate_and_open_all():
    cases = read_cases()
    closed = {gate["name"] for case in cases for gate in case["decision"]["gates"] if not gate["is_open"]}
    assert {gate["name"] for gate in cases[0]["decision"]["gates"]} - closed == {"finishing", "clock"}
    assert sum(case["decision"]["allow"] for case in cases) > 40


HAND_WRITTEN_CASES = json.loads(HAND_WRITTEN.read_text("utf-8"))["cases"]


@SIDES
@pytest.mark.parametrize("case", HAND_WRITTEN_CASES, ids=[case["name"] for case in HAND_WRITTEN_CASES])
def test_people_get_the_answer_they_expect(side, case):
    rules = case.get("rules", {})
    zone = ZoneInfo(rules.get("time_zone", "UTC"))

    def instant(text: str) -> float:
        return dt.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()

    values = {**GOOD, **case.get("changes", {})}
    ages = case.get("ages", {})
    facts = dict(case.get("facts", {}))
    if "paused_until" in facts:
        until = facts.pop("paused_until")
        facts["paused_until_unix"] = until if until == "resumed" else instant(until)
    asked = {
        "rules": rules,
        "server_rules": case.get("server_rules"),
        "now": {"unix": instant(case["at"]), "elapsed": ELAPSED},
        "signals": {name: [value, ELAPSED - ages.get(name, 0)] for name, value in values.items()},
        "facts": facts,
        "memory": case.get("memory", {"was_allowed": True, "open_since_elapsed": ELAPSED - 3600}),
    }
    decision, expect = decide(side, asked), case["expect"]
    assert decision.allow is expect["allow"]
    assert decision.allow is (not decision.reasons)
    if "reasons" in expect:
        assert list(decision.reasons) == expect["reasons"]
    if "next_check_seconds" in expect:
        assert decision.next_check_seconds == expect["next_check_seconds"]
    if "until" in expect:
        wanted = expect["until"] and instant(expect["until"])
        assert wanted == (decision.until_unix and math.floor(decision.until_unix))


def test_the_two_packages_differ_in_their_imports_only():
    copies = get_copies()
    written = {path.name: path.read_text("utf-8") for path in SERVER.glob("*.py") if path.name != OWN}
    assert sorted(written) == sorted(copies)
    assert not any(
        "fleetclient." in line for text in written.values() for line in text.splitlines() if "import" in line
    )
    different = [name for name, text in copies.items() if written[name] != text]
    assert different == [], "change the client's file, then run tests/contract/rules/copying.py"


def test_the_two_refusals_differ_in_their_base_only():
    client, server = ((folder / OWN).read_text("utf-8") for folder in (CLIENT, SERVER))
    moved = client.replace(
        "from fleetclient.errors import ClientError", "from workunits.domain.errors import FleetError"
    )
    assert moved.replace("(ClientError)", "(FleetError)") == server
