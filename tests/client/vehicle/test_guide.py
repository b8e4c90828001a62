"""The guide's examples are configurations that work."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fleetclient.config import parse_config
from fleetclient.rules.decision import Decision, LocalFacts, Memory, Now
from fleetclient.rules.eligibility import evaluate
from fleetclient.rules.rules import Rules
from fleetclient.vehicle.factory import make_source
from fleetclient.vehicle.file import read_document
from fleetclient.vehicle.signals import SIGNALS, Reading, Signals, SignalValue

GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "connect-a-car.md"


def list_examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", list_examples("toml"))
def test_each_configuration_in_the_guide_makes_a_source(example: str, tmp_path: Path) -> None:
    document = {"server": "https://fleet.example", "state_dir": "state", **tomllib.loads(example)}
    config = parse_config(document, folder=tmp_path)
    source = make_source(config.vehicle, folder=tmp_path, began_at=0.0)
    source.stop()


def test_the_document_in_the_guide_is_understood() -> None:
    [example] = list_examples("json")
    values, observed_at = read_document(example.encode())
    assert None not in values.values()
    assert observed_at is not None


def test_the_signals_that_the_guide_names_are_enough_for_the_default_rules_and_none_is_too_many() -> None:
    [example] = list_examples("json")
    values, _ = read_document(example.encode())
    values["soc_pct"] = 75.0  # above the floor and below the limit: whether it charges matters
    assert decide(values).allow
    for name in values:
        decision = decide({other: value for other, value in values.items() if other != name})
        assert decision.reasons == ("signal_stale",), name


def decide(values: dict[str, SignalValue | None]) -> Decision:
    signals = Signals({name: Reading(value, 1000.0, "test") for name, value in values.items()})
    return evaluate(
        signals,
        Rules(),
        Now(unix=1_767_612_600.0, elapsed=1001.0),
        facts=LocalFacts(),
        memory=Memory(was_allowed=True, open_since_elapsed=0.0),
    )


def test_the_guide_names_every_signal() -> None:
    text = GUIDE.read_text("utf-8")
    assert all(f"`{name}`" in text for name in SIGNALS)
