"""Writes the golden cases of the owner's rules: what was asked, and the whole decision.

    python tests/contract/rules/make_cases.py            # write cases.json again
    python tests/contract/rules/make_cases.py --check    # say whether it is what this file would write

Deterministic, from a fixed seed. Changing a recorded decision is changing what cars and owners' pages do: read the
difference, and say it in the changelog. `hand_written.json` holds cases with the answers that people expect.
"""

from __future__ import annotations

import json
import math
import random
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[3]), str(Path(__file__).parents[3] / "client")]

from fleetclient.rules.decision import Decision, LocalFacts, Memory, Now
from fleetclient.rules.eligibility import evaluate
from fleetclient.rules.rules import Rules, dump_rules, read_rules
from fleetclient.rules.tighten import LOOSEST, tighten
from fleetclient.vehicle.signals import SIGNALS, Reading, Signals

FOLDER = Path(__file__).parent
CASES = FOLDER / "cases.json"
HAND_WRITTEN = FOLDER / "hand_written.json"
RUNS, STEPS = 80, 4

# Zones whose rules have been the same for years, at times that are past: no new zone data changes them.
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Ho_Chi_Minh", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
MOMENTS = (1_743_296_400, 1_761_440_400, 1_741_503_600, 1_762_063_200, 1_743_865_200, 1_759_591_800, 1_746_057_600)
GOOD: dict[str, Any] = {
    "parked": True, "plugged_in": True, "charging": False, "soc_pct": 80.0, "charge_limit_pct": 80.0, "at_home": True,
    "on_home_wifi": True, "user_present": False, "cabin_temp_c": 21.5, "pack_temp_c": 18.0, "sentry_on": False,
    "updating": False,
}  # fmt: skip
ODD: dict[str, list[Any]] = {
    "soc_pct": [60.0, 66.0, 72.0, 100.0, None], "charge_limit_pct": [70.0, 90.0, None],
    "cabin_temp_c": [-3.0, 1.0, 43.5, 46.0, None], "pack_temp_c": [46.0, None],
}  # fmt: skip
RULES: dict[str, list[Any]] = {
    "windows": [
        "night", "weekend", "never", {"weekdays": ["22:00-06:00"], "sat": ["00:00-24:00"]}, {"sun": "02:15-02:45"},
    ],
    "quiet_hours": ["night", {"daily": ["12:00-14:00", "23:30-00:30"]}],
    "ready_by": ["none", "06:30", {"weekdays": "06:30", "weekend": "none"}, {"daily": ["07:00", "17:00"]}],
    "battery_kwh": [75, 40], "charger_kw": [2.3, 11, 0.4], "ready_margin_hours": [0, 2], "charge_limit_pct": [60, 95],
    "start_soc_pct": [75, 90], "stop_soc_pct": [50, 70], "start_after_seconds": [0, 10],
    "cabin_max_c": ["none", 30], "temp_min_c": ["none", 5], "temp_hysteresis_c": [0], "device_max_c": [60, "none"],
    "work_when_cabin_unknown": [True], "work_when_device_temp_unknown": [False], "work_when_net_unknown": [False],
    "only_home_network": [False], "work_while_charging_elsewhere": [True], "stop_on_sentry": [True],
    "hours_day_max": ["none", 2], "data_day_gb_max": ["none", 1], "data_month_gb_max": ["none", 5, 0],
    "min_net_per_hour": ["none", 0.25], "presence_stale_seconds": [60], "other_stale_seconds": [120],
    "away_mode": ["vacation", "service"],
}  # fmt: skip
TARIFF = {
    "currency": "EUR",
    "price_per_kwh": 0.31,
    "price_max_per_kwh": 0.25,
    "price_table": [
        {"price": 0.19, "from": "22:00", "to": "06:00"},
        {"price": 0.24, "days": "weekend", "from": "11:00", "to": "15:30"},
    ],
}
FACTS: dict[str, list[Any]] = {
    "device_temp_c": [45.0, 78.0, 81.5], "bytes_today": [999_999_999, 5_000_000_000],
    "bytes_this_month": [4_200_000_000, 20_000_000_000], "worked_seconds_today": [7100.0, 36_000.0],
    "is_finishing": [True], "on_allowed_network": [True, False], "network_name": ["net-5b0c2d"],
    "unconfined_reason": ["seccomp is missing"], "net_per_hour": [0.21, -0.02],
}  # fmt: skip
# Each of the first runs begins with one gate closed, so that every gate is there.
FIRST: tuple[dict[str, dict[str, Any]], ...] = (
    {"signals": {"parked": False}}, {"signals": {"user_present": True}}, {"signals": {"updating": True}},
    {"signals": {"plugged_in": False}}, {"signals": {"on_home_wifi": False}}, {"signals": {"soc_pct": 64.0}},
    {"signals": {"charging": True, "soc_pct": 75.0}}, {"signals": {"charging": True, "at_home": False}},
    {"signals": {"cabin_temp_c": 50.0}}, {"signals": {"pack_temp_c": 46.0}}, {"facts": {"device_temp_c": 90.0}},
    {"facts": {"bytes_today": 4_000_000_000}}, {"facts": {"bytes_this_month": 20_000_000_000}},
    {"facts": {"worked_seconds_today": 36_000.0}}, {"facts": {"paused_until_unix": "resumed"}},
    {"facts": {"unconfined_reason": "seccomp is missing"}}, {"facts": {"net_per_hour": -0.02}},
    {"rules": {"away_mode": "valet"}}, {"rules": {"windows": "never"}}, {"rules": {"quiet_hours": "always"}},
    {"rules": {"price_per_kwh": 0.3, "price_max_per_kwh": 0.2}},
    {"rules": {"stop_on_sentry": True}, "signals": {"sentry_on": True}},
    {"signals": {"soc_pct": 78.0}, "memory": {"charge_mark_pct": 80.0}},
)  # fmt: skip


def make_cases() -> dict[str, Any]:
    """Return the document of cases: short runs of one car whose memory is carried from step to step."""
    dice = random.Random(20_260_921)
    runs: list[dict[str, Any]] = []
    for run in range(RUNS):
        document = _draw_rules(dice)
        server = _draw_rules(dice, zone=document["time_zone"]) if run % 8 == 7 else None
        asked, steps = _draw_question(dice), []
        if run < len(FIRST):
            document, server = {"time_zone": document["time_zone"], **FIRST[run].get("rules", {})}, None
            values = GOOD | FIRST[run].get("signals", {})
            asked["signals"] = {name: [value, asked["now"]["elapsed"]] for name, value in values.items()}
            asked["facts"] = FIRST[run].get("facts", {})
            asked["memory"] |= FIRST[run].get("memory", {})
        for _ in range(STEPS):
            decision = decide({"rules": document, "server_rules": server, **asked})
            steps.append({**asked, "decision": decision_document(decision)})
            asked = _go_on(dice, asked, decision)
        runs.append({"rules": document, "server_rules": server, "steps": steps})
    return _share_gates(runs)


def decide(case: dict[str, Any]) -> Decision:
    """Return the client's decision of a case."""
    rules = read_rules(case["rules"])
    if case.get("server_rules") is not None:
        rules = tighten(rules, read_rules(case["server_rules"], base=LOOSEST))
    facts = dict(case["facts"])
    if facts.get("paused_until_unix") == "resumed":
        facts["paused_until_unix"] = math.inf
    heard = {name: Reading(value, observed_at, "golden") for name, (value, observed_at) in case["signals"].items()}
    return evaluate(
        Signals(heard), rules, Now(**case["now"]), facts=LocalFacts(**facts), memory=Memory(**case["memory"])
    )


def decision_document(decision: Any) -> dict[str, Any]:
    """Return a decision of either side as JSON has it."""
    return json.loads(json.dumps(asdict(decision)))  # type: ignore[no-any-return]


def _draw_rules(dice: random.Random, *, zone: str = "") -> dict[str, Any]:
    names = dice.sample(sorted(RULES), dice.choice([0, 0, 1, 2, 4]))
    document: dict[str, Any] = {"time_zone": zone or dice.choice(ZONES)}
    document |= {name: dice.choice(RULES[name]) for name in sorted(names)}
    if dice.random() < 0.2:
        document |= TARIFF
    if dice.random() < 0.2:
        document |= {"stop_on_sentry": True}
    if dice.random() < 0.1:
        document |= {"away_mode": "valet"}
    if "away_mode" in document:
        document["away_until"] = dice.choice(["forever", "2025-05-02", "2025-03-31"])
    if document.get("stop_soc_pct") == 70:
        document["start_soc_pct"] = 75
    # Only what differs from the defaults is recorded, in its one form.
    rules, plain = dump_rules(read_rules(document)), dump_rules(Rules())
    return {key: value for key, value in rules.items() if value != plain[key]}


def _draw_question(dice: random.Random) -> dict[str, Any]:
    unix = dice.choice(MOMENTS) + dice.choice([-7200, -1800, 0, 1800, 20_000, 3 * 86_400]) + dice.randrange(0, 600) / 8
    elapsed = dice.randrange(10_000, 90_000) / 8
    signals = {name: [GOOD[name], elapsed - dice.randrange(0, 400) / 8] for name in SIGNALS}
    signals["sentry_on"] = [dice.random() < 0.4, elapsed]
    if dice.random() < 0.2:
        signals |= {"charging": [True, elapsed - 2.0], "soc_pct": [dice.choice([62.0, 71.0, 76.0]), elapsed - 2.0]}
    for name in dice.sample(SIGNALS, dice.choice([0, 0, 0, 0, 1])):
        _disturb(dice, signals, name, elapsed)
    facts = {
        name: dice.choice(FACTS[name]) for name in sorted(dice.sample(sorted(FACTS), dice.choice([0, 0, 0, 1, 2])))
    }
    if dice.random() < 0.15:
        facts["paused_until_unix"] = dice.choice([unix + 30, unix + 5000, "resumed"])
    memory = dice.choice([Memory(), Memory(was_allowed=True, open_since_elapsed=elapsed - 4000)])
    now = {"unix": unix, "elapsed": elapsed}
    return {"now": now, "signals": signals, "facts": facts, "memory": asdict(memory)}


def _disturb(dice: random.Random, signals: dict[str, Any], name: str, elapsed: float) -> None:
    good = GOOD[name]
    value = (not good) if isinstance(good, bool) else dice.choice(ODD[name])
    signals[name] = dice.choice(
        [[value, elapsed], [value, elapsed], [None, elapsed], [good, elapsed - 290], [good, elapsed - 1200]]
    )


def _go_on(dice: random.Random, asked: dict[str, Any], decision: Decision) -> dict[str, Any]:
    """Return the next question: the time the decision names has passed, and some news has come."""
    seconds = dice.choice([decision.next_check_seconds, decision.next_check_seconds, 61.0, 3600.0])
    now = {key: value + seconds for key, value in asked["now"].items()}
    signals = dict(asked["signals"])
    if dice.random() < 0.9:
        signals = {name: [value, now["elapsed"] - 1.0] for name, (value, _) in signals.items()}
    if dice.random() < 0.2:
        _disturb(dice, signals, dice.choice(SIGNALS), now["elapsed"])
    return {"now": now, "signals": signals, "facts": asked["facts"], "memory": asdict(decision.memory)}


def _share_gates(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the runs with each different gate written once, and referred to by its place in the list."""
    gates: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    for step in (step for run in runs for step in run["steps"]):
        for gate in step["decision"]["gates"]:
            if places.setdefault(json.dumps(gate), len(gates)) == len(gates):
                gates.append(gate)
        step["decision"]["gates"] = [places[json.dumps(gate)] for gate in step["decision"]["gates"]]
    return {"gates": gates, "runs": runs}


def dump_cases() -> str:
    """Return the text of `cases.json`: a gate or a step a line, so that differences can be read."""
    document = make_cases()
    gates = ",\n".join(json.dumps(gate, ensure_ascii=False) for gate in document["gates"])
    runs = []
    for run in document["runs"]:
        steps = ",\n".join(json.dumps(step, ensure_ascii=False) for step in run.pop("steps"))
        runs.append(json.dumps(run)[:-1] + f', "steps": [\n{steps}\n]}}')
    listed = ",\n".join(runs)
    return f'{{"gates": [\n{gates}\n],\n"runs": [\n{listed}\n]}}\n'


def read_cases() -> list[dict[str, Any]]:
    """Return the recorded cases, each with its run's rules and its gates in place."""
    document = json.loads(CASES.read_text("utf-8"))
    cases = []
    for number, run in enumerate(document["runs"]):
        for position, step in enumerate(run.pop("steps")):
            step["decision"]["gates"] = [document["gates"][place] for place in step["decision"]["gates"]]
            cases.append({"name": f"run {number} step {position}", **run, **step})
    return cases


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if CASES.read_text("utf-8") == dump_cases() else f"{CASES} is not what this would write")
    CASES.write_text(dump_cases(), "utf-8")
