"""What people and programs read of a decision."""

from __future__ import annotations

import json

import pytest

from fleetclient.rules.decision import LocalFacts, Memory, Now
from fleetclient.rules.eligibility import evaluate
from fleetclient.rules.explain import explain_document, explain_text, get_sentence
from fleetclient.rules.rules import Rules, read_rules
from fleetclient.rules.sentences import REASON_ORDER, SENTENCES, say
from fleetclient.vehicle.signals import Reading, Signals
from tests.client.rules.strategies import GOOD

NOW = Now(unix=1_790_000_000.0, elapsed=5000.0)  # Monday 2026-09-21, 21:13 in Ho Chi Minh City
WORKING = Memory(was_allowed=True, open_since_elapsed=0.0)
NIGHT = read_rules({"time_zone": "Asia/Ho_Chi_Minh", "windows": "night"})


def heard(**changes: object) -> Signals:
    return Signals({name: Reading(value, 4990.0, "test") for name, value in {**GOOD, **changes}.items()})


def test_the_verdict_says_when_work_may_begin_and_every_gate_has_its_line():
    decision = evaluate(heard(soc_pct=91.0), NIGHT, NOW)
    text = explain_text(decision, NOW, time_zone=NIGHT.time_zone)
    lines = text.splitlines()
    assert lines[0] == (
        "The car may not work: Outside the allowed hours; next Mon 22:00. It may begin Mon 22:01 at the earliest."
    )
    assert len(lines) == 2 + len(decision.gates)
    soc = next(line for line in lines if "soc_pct" in line)
    words = "open soc_pct 91 % >= 70 % 10 s ago Battery 91 %, at least 70 %."
    assert " ".join(soc.split()) == words
    closed = [line for line in lines if line.startswith("CLOSED")]
    assert len(closed) == 1
    assert closed[0].endswith("Outside the allowed hours; next Mon 22:00. (opens Mon 22:00)")


def test_a_car_that_may_work_is_told_until_when():
    rules = read_rules({"time_zone": "Asia/Ho_Chi_Minh", "windows": {"daily": "08:00-23:30"}})
    decision = evaluate(heard(), rules, NOW, memory=WORKING)
    assert explain_text(decision, NOW, time_zone=rules.time_zone).startswith(
        "The car may work, until Mon 23:30 at the latest.\n"
    )
    always = evaluate(heard(), Rules(), NOW, memory=WORKING)
    assert explain_text(always, NOW, time_zone="").startswith("The car may work.\n")
    assert get_sentence(always) == "All gates are open."


def test_the_document_holds_every_gate_and_is_json():
    facts = LocalFacts(device_temp_c=85.0)
    decision = evaluate(heard(parked=False), NIGHT, NOW, facts=facts)
    document = json.loads(json.dumps(explain_document(decision)))
    assert document["allow"] is False
    assert document["reasons"] == ["not_parked", "too_hot", "outside_hours"]
    gates = {gate["name"]: gate for gate in document["gates"]}
    assert len(gates) == len(decision.gates)
    assert gates["device_temp"] == {
        "name": "device_temp", "open": False, "reason": "too_hot", "value": "85.0 °C", "limit": "3 to 77 °C",
        "detail": "Too hot: computer 85 °C, limit 77 °C.", "age_seconds": None, "opens_unix": None,
    }  # fmt: skip
    assert gates["parked"]["age_seconds"] == 10.0
    assert gates["windows"]["opens_unix"] == 1_790_002_800.0


def test_the_one_sentence_is_that_of_the_most_telling_reason():
    decision = evaluate(heard(parked=False, plugged_in=False, user_present=True, soc_pct=10.0), NIGHT, NOW)
    assert decision.reasons == ("driving", "user_present", "not_plugged_in", "soc_low", "outside_hours")
    assert get_sentence(decision) == "Driving."


def test_waiting_for_charge_says_from_which_and_about_when():
    rules = read_rules({"time_zone": "Asia/Ho_Chi_Minh", "battery_kwh": 60, "charger_kw": 7.4})
    decision = evaluate(heard(soc_pct=40.0, charging=True), rules, NOW)
    sentences = {gate.name: gate.detail for gate in decision.gates if not gate.is_open}
    assert sentences == {
        "soc_pct": "Waiting: battery 40 % - starts at 70 % (about Mon 23:55).",
        "ready_by": "Your car charges first, to 70 %. Starts about Mon 23:55.",
    }


def test_old_news_is_said_with_its_age_and_its_signal():
    readings = dict(heard().readings)
    readings["plugged_in"] = Reading(True, 5000.0 - 720, "test")
    readings["updating"] = Reading(None, 5000.0, "test")
    decision = evaluate(Signals(readings), Rules(), NOW, memory=WORKING)
    assert [gate.detail for gate in decision.gates if not gate.is_open] == [
        "The car has said nothing of updating; idle to be safe.",
        "No fresh data from the car for 12 min (plugged_in); stopped to be safe.",
        "No fresh data from the car for 12 min (plugged_in); stopped to be safe.",
    ]


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_every_reason_has_a_sentence_that_needs_no_numbers(code):
    sentence = say(code)
    assert sentence.endswith(".")
    assert "{" not in sentence


def test_an_unknown_reason_says_itself():
    assert say("meteorite") == "Not working: meteorite."


def test_every_reason_that_owners_are_told_of_has_its_sentence():
    assert REASON_ORDER.keys() >= {
        "not_plugged_in", "soc_low", "charging_first", "driving", "user_present", "not_home_wifi", "outside_hours",
        "price_high", "net_below_floor", "too_hot", "too_cold", "data_cap", "updating", "signal_stale", "paused_user",
        "suspended_ops", "not_parked", "unconfined", "finishing", "shutting_down", "not_wanted", "hours_cap",
    }  # fmt: skip
