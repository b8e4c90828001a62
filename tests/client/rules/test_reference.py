"""The reference page names every key, gate and reason, with the defaults that hold."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from fleetclient.rules.decision import Now
from fleetclient.rules.eligibility import evaluate
from fleetclient.rules.rules import Rules, dump_rules
from fleetclient.rules.sentences import REASON_ORDER
from fleetclient.vehicle.signals import Signals

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "owner-rules.md").read_text("utf-8")
# Reasons of the agent, which no gate of the rules gives.
OF_THE_AGENT = {"suspended_ops", "shutting_down"}


def first_cells() -> dict[str, str]:
    """Return the second cell of each table's row under each name in its first."""
    keys = PAGE.split("## The gates")[0]
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]*)", keys, re.MULTILINE)
    return {name: second.strip() for names, second in rows for name in re.findall(r"`(\w+)`", names)}


def test_every_key_is_there_with_its_default():
    cells, defaults = first_cells(), dump_rules(Rules())
    assert cells.keys() >= {item.name for item in fields(Rules)}
    for key, value in defaults.items():
        said = cells[key].split(" (")[0].strip("`")
        shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
        assert said in {shown, shown.removesuffix(".0")}, key


def test_every_gate_is_there_in_order():
    gates = [gate.name for gate in evaluate(Signals(), Rules(), Now(unix=1.79e9, elapsed=0.0)).gates]
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]*)", PAGE.split("## The gates")[1].split("| reason |")[0], re.MULTILINE)
    assert [name for names, _ in rows for name in re.findall(r"`(\w+)`", names)] == gates


def test_every_reason_is_there_in_order():
    rows = re.findall(r"^\| (`[^|]+`) \|", PAGE.split("| reason |")[1], re.MULTILINE)
    named = [name for names in rows for name in re.findall(r"`(\w+)`", names)]
    assert named == [code for code in REASON_ORDER if code not in OF_THE_AGENT | {"finishing"}]
