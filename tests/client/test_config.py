"""The configuration file: defaults, refusals, suggestions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleetclient.config import ConfigInvalid, load_config, parse_config

MINIMAL = {"server": "https://fleet.example", "state_dir": "state"}


def parse(**more: Any) -> Any:
    return parse_config({**MINIMAL, **more}, folder=Path("/etc/fleet"))


def test_two_keys_are_enough() -> None:
    config = parse()
    assert config.server == "https://fleet.example"
    assert config.state_dir == Path("/etc/fleet/state")
    assert config.vehicle.hand_back is False
    assert config.simulation.fault == "none"
    assert config.memory_bytes_reported == config.limits.memory_bytes


def test_every_key_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "car.toml").write_text(
        """
        server = "http://127.0.0.1:8000/"
        state_dir = "/var/lib/fleet"
        name = "Blue ID.3"
        log_level = "debug"
        on_stop = "keep"
        [cache]
        models_bytes_max = 2_000_000_000
        [limits]
        memory_bytes = 1_000_000_000
        replicas = 3
        runner_idle_seconds = 1
        [vehicle]
        source = "simulated"
        start_delay_seconds = 2
        away = [[10, 25], [40.5, 50.0]]
        away_reason = "unplugged"
        away_file = "away"
        hand_back = false
        [simulation]
        speed = 0.5
        fault = "wrong"
        fault_seed = 7
        fault_rate = 0.25
        memory_bytes = 500_000_000
        """
    )
    config = load_config(tmp_path / "car.toml")
    assert config.server == "http://127.0.0.1:8000"
    assert config.state_dir == Path("/var/lib/fleet")
    assert (config.name, config.log_level, config.on_stop) == ("Blue ID.3", "debug", "keep")
    assert config.cache.models_bytes_max == 2_000_000_000
    assert (config.limits.replicas, config.limits.runner_idle_seconds) == (3, 1.0)
    assert config.vehicle.away == ((10.0, 25.0), (40.5, 50.0))
    assert config.vehicle.away_file == str(tmp_path.resolve() / "away")
    assert (config.vehicle.away_reason, config.vehicle.hand_back) == ("unplugged", False)
    assert (config.simulation.speed, config.simulation.fault_seed, config.simulation.fault_rate) == (0.5, 7, 0.25)
    assert config.memory_bytes_reported == 500_000_000


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sever": "x"}, "unknown key sever; did you mean server?"),
        ({"limits": {"replica": 1}}, "unknown key limits.replica; did you mean replicas?"),
        ({"limits": {"zzz": 1}}, "unknown key limits.zzz; known here: memory_bytes, replicas, runner_idle_seconds"),
        ({"limits": 3}, "limits is a section"),
        ({"server": "fleet.example"}, "server must be an origin"),
        ({"server": "https://fleet.example/base"}, "server must be an origin"),
        ({"server": 3}, "server must be a text, not 3"),
        ({"log_level": "loud"}, "log_level must be one of"),
        ({"on_stop": "drop"}, "on_stop must be one of"),
        ({"limits": {"replicas": True}}, "limits.replicas must be a whole number, not True"),
        ({"limits": {"replicas": 0}}, "limits.replicas must be from 1 to 256"),
        ({"vehicle": {"source": "tesla"}}, "vehicle.source must be one of"),
        ({"vehicle": {"away": [[5]]}}, "vehicle.away must be a list, each a list of 2"),
        ({"vehicle": {"away": [[5, 5]]}}, "vehicle.away: each absence must end after it starts"),
        ({"vehicle": {"away_reason": "holiday"}}, "vehicle.away_reason must be one of"),
        ({"simulation": {"speed": 2.0}}, "simulation.speed must be from"),
        ({"simulation": {"speed": float("nan")}}, "simulation.speed must be from"),
        ({"simulation": {"fault": "lazy"}}, "simulation.fault must be one of"),
    ],
)
def test_a_wrong_key_or_value_is_named(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigInvalid, match="^" + words.replace("?", r"\?").replace("[", r"\[")):
        parse(**more)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigInvalid, match=r"^server is missing"):
        parse_config({"state_dir": "state"}, folder=Path("/"))


def test_a_file_that_is_missing_or_not_toml_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        load_config(tmp_path / "nothing.toml")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(ConfigInvalid, match="is not TOML"):
        load_config(tmp_path / "bad.toml")


def test_a_car_that_nobody_has_connected_is_not_pretended(tmp_path: Path) -> None:
    bare = {"server": "https://fleet.example", "state_dir": "state"}
    assert parse_config(bare, folder=tmp_path).vehicle.source == "none"
    for pretended in ({"simulation": {"speed": 0.5}}, {"vehicle": {"away": [[1, 2]]}}, {"vehicle": {"away_file": "x"}}):
        assert parse_config({**bare, **pretended}, folder=tmp_path).vehicle.source == "simulated"
