"""Where configuration values come from: precedence, origins, the environment, the command line, folders, secrets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetclient.config import ConfigInvalid, Request, load, parse_config, reload
from fleetclient.config.layers import variable_of
from fleetclient.config.loading import DEFAULT
from fleetclient.config.schema import list_defaults, list_keys, list_sections
from fleetclient.config.values import describe_type
from fleetclient.rules.rules import Rules, dump_rules

SERVER = 'server = "https://fleet.example"\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / ".config" / "fleetcompute").mkdir(parents=True)
    return tmp_path / "home"


def own_file(home: Path) -> Path:
    return home / ".config" / "fleetcompute" / "client.toml"


def ask(home: Path, **more: object) -> Request:
    environment = {"HOME": str(home), **more.pop("environment", {})}  # type: ignore[dict-item]
    return Request(environment=environment, system_file=home / "etc.toml", **more)  # type: ignore[arg-type]


def test_the_strongest_layer_wins_and_every_value_knows_its_origin(home: Path) -> None:
    own_file(home).write_text(
        f'{SERVER}name = "own"\nlog_level = "debug"\n[limits]\nreplicas = 1\nrunner_idle_seconds = 9\n'
    )
    (home / "etc.toml").write_text('name = "system"\n[limits]\nreplicas = 2\n')
    environment = {"FLEET_LIMITS__REPLICAS": "3", "FLEET_NAME": "variable"}
    loaded = load(ask(home, environment=environment, assignments=("name=flag",)))
    assert (loaded.config.name, loaded.settings["name"].origin) == ("flag", "command line")
    assert loaded.config.limits.replicas == 3
    assert loaded.settings["limits.replicas"].origin == "environment FLEET_LIMITS__REPLICAS"
    assert (loaded.config.log_level, loaded.settings["log_level"].origin) == ("debug", f"file {own_file(home)}")
    assert loaded.config.limits.runner_idle_seconds == 9.0
    assert loaded.settings["on_stop"].origin == DEFAULT
    assert loaded.files == (home / "etc.toml", own_file(home))


def test_the_systems_file_is_stronger_than_a_persons(home: Path) -> None:
    own_file(home).write_text(f'{SERVER}name = "own"\n')
    (home / "etc.toml").write_text('name = "system"\n')
    assert load(ask(home)).config.name == "system"


def test_a_named_file_stands_alone(home: Path, tmp_path: Path) -> None:
    own_file(home).write_text('name = "own"\n[rules]\nwindows = "never"\n')
    (tmp_path / "demo.toml").write_text(SERVER)
    loaded = load(ask(home, file=tmp_path / "demo.toml"))
    assert loaded.config.name == "My car"
    assert loaded.config.rules == Rules()
    assert loaded.files == (tmp_path / "demo.toml",)


def test_the_short_variable_sets_the_log_level(home: Path) -> None:
    loaded = load(ask(home, environment={"FLEET_LOG": "error"}), needs_server=False)
    assert (loaded.config.log_level, loaded.settings["log_level"].origin) == ("error", "environment FLEET_LOG")


def test_lists_and_tables_can_be_written_on_one_line(home: Path) -> None:
    environment = {
        "FLEET_NETWORK__ALLOWED_SSIDS": "Home, Garage",
        "FLEET_VEHICLE__AWAY": "[10, 25], [40, 50]",
        "FLEET_VEHICLE__TESLAMATE__CAR_ID": "7",
        "FLEET_VEHICLE__HAND_BACK": "false",
        "FLEET_RULES__READY_BY": "none",
    }
    config = load(ask(home, environment=environment), needs_server=False).config
    assert config.network.allowed_ssids == ("Home", "Garage")
    assert config.vehicle.away == ((10.0, 25.0), (40.0, 50.0))
    assert config.vehicle.teslamate.car_id == 7
    assert config.vehicle.hand_back is False
    assert config.rules.ready_by == ((),) * 7


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"FLEET_LIMITS__REPLICA": "3"},
            "unknown key limits.replica; did you mean replicas? (environment FLEET_LIMITS__REPLICA)",
        ),
        ({"FLEET_LIMITS__REPLICAS": "many"}, "limits.replicas must be a whole number, not 'many' (environment"),
        ({"FLEET_RULES__START_SOC_PCT": "200"}, "rules.start_soc_pct must be from 0 to 100, not 200 (environment"),
        ({"FLEET_RULES__START_SOC": "50"}, "unknown key rules.start_soc; did you mean start_soc_pct?"),
    ],
)
def test_a_wrong_variable_is_named(home: Path, environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        load(ask(home, environment=environment), needs_server=False)
    assert words in str(refused.value)


def test_variables_of_other_programs_are_left_alone(home: Path) -> None:
    environment = {"FLEET_API_KEY": "x", "FLEET_HOSTS__COUNT": "3", "FLEETCTL": "y"}
    loaded = load(ask(home, environment=environment), needs_server=False)
    assert {setting.origin for setting in loaded.settings.values()} == {DEFAULT}


@pytest.mark.parametrize("assignment", ["limits.replicas", "=3", "limits=3", "limit.replicas=3"])
def test_a_wrong_setting_on_the_command_line_is_refused(home: Path, assignment: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"KEY=VALUE|unknown key"):
        load(ask(home, assignments=(assignment,)), needs_server=False)


def test_a_wrong_value_in_a_file_names_the_file(home: Path) -> None:
    own_file(home).write_text(f"{SERVER}[rules]\nstart_soc_pct = 10\n")
    with pytest.raises(ConfigInvalid) as refused:
        load(ask(home))
    assert "stop_soc_pct (65) must not be above start_soc_pct (10)" in str(refused.value)
    assert str(own_file(home)) in str(refused.value)


def test_a_value_of_a_section_that_its_own_part_refuses_has_its_whole_name(home: Path) -> None:
    own_file(home).write_text(f"{SERVER}[vehicle.teslamate]\ncar_id = 0\n")
    with pytest.raises(ConfigInvalid, match=r"^vehicle\.teslamate\.car_id must be from 1 .*client\.toml\)$"):
        load(ask(home))


def test_a_table_inside_a_mapping_is_checked_like_any_other(home: Path) -> None:
    own_file(home).write_text(f'{SERVER}[vehicle.mqtt.signals.parked]\ntopc = "a"\n')
    with pytest.raises(ConfigInvalid, match=r"^unknown key vehicle\.mqtt\.signals\.parked\.topc; did you mean topic\?"):
        load(ask(home))
    own_file(home).write_text(f'{SERVER}[vehicle.mqtt.signals.parked]\ntopic = "a"\ninvert = 1\n')
    with pytest.raises(ConfigInvalid, match=r"signals\.parked\.invert must be true or false, not 1"):
        load(ask(home))


def test_a_missing_server_says_where_to_write_it(home: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"^server is missing: write server = .* into .*client\.toml"):
        load(ask(home))


def test_folders_of_a_person_follow_xdg(home: Path, tmp_path: Path) -> None:
    config = load(ask(home), needs_server=False).config
    assert config.state_dir == home / ".local/state/fleetcompute"
    assert config.cache_dir == home / ".cache/fleetcompute"
    xdg = {"XDG_STATE_HOME": str(tmp_path / "s"), "XDG_CACHE_HOME": str(tmp_path / "c"), "XDG_CONFIG_HOME": "relative"}
    config = load(ask(home, environment=xdg), needs_server=False).config
    assert (config.state_dir, config.cache_dir) == (tmp_path / "s/fleetcompute", tmp_path / "c/fleetcompute")


def test_folders_of_the_service_are_the_systems(home: Path) -> None:
    (home / "etc.toml").write_text(SERVER)
    config = load(ask(home)).config
    assert (config.state_dir, config.cache_dir) == (Path("/var/lib/fleetcompute"), Path("/var/cache/fleetcompute"))


def test_folders_that_systemd_made_win(home: Path) -> None:
    environment = {"STATE_DIRECTORY": "/srv/state:/srv/other", "CACHE_DIRECTORY": "/srv/cache"}
    config = load(ask(home, environment=environment), needs_server=False).config
    assert (config.state_dir, config.cache_dir) == (Path("/srv/state"), Path("/srv/cache"))


def test_a_named_state_folder_holds_everything_of_its_car(home: Path, tmp_path: Path) -> None:
    (tmp_path / "car.toml").write_text(f'{SERVER}state_dir = "state"\n')
    config = load(ask(home, file=tmp_path / "car.toml")).config
    assert (config.state_dir, config.cache_dir) == (tmp_path / "state", tmp_path / "state/cache")


def test_files_named_in_a_file_are_beside_it(home: Path, tmp_path: Path) -> None:
    (tmp_path / "car.toml").write_text(f'{SERVER}log_file = "log/car.log"\n[vehicle]\naway_file = "away"\n')
    config = load(ask(home, file=tmp_path / "car.toml")).config
    assert config.log_file == str(tmp_path / "log/car.log")
    assert config.vehicle.away_file == str(tmp_path / "away")
    assert config.folder == tmp_path


@pytest.mark.parametrize(
    "secret",
    ['[home_assistant]\npassword = "hunter22"\n', '[network]\nproxy = "http://car:hunter22@proxy:3128"\n'],
)
def test_a_file_with_a_secret_must_be_closed_to_others(home: Path, secret: str) -> None:
    own_file(home).write_text(SERVER + secret)
    own_file(home).chmod(0o640)
    with pytest.raises(ConfigInvalid, match=r"can be read by others \(mode 640\); run: chmod 600 ") as refused:
        load(ask(home))
    assert "hunter22" not in str(refused.value)
    own_file(home).chmod(0o600)
    assert "hunter22" in f"{load(ask(home)).config}"


def test_reading_anew_takes_the_files_of_now_and_keeps_the_old_ones_on_a_mistake(home: Path) -> None:
    own_file(home).write_text(f"{SERVER}[rules]\nstart_soc_pct = 80\n")
    config = load(ask(home)).config
    own_file(home).write_text(f"{SERVER}[rules]\nstart_soc_pct = 90\n")
    fresh = reload(config)
    assert (config.rules.start_soc_pct, fresh.rules.start_soc_pct) == (80.0, 90.0)
    own_file(home).write_text(f"{SERVER}[rules]\nstart_soc = 90\n")
    with pytest.raises(ConfigInvalid, match="did you mean start_soc_pct"):
        reload(fresh)


def test_a_configuration_from_no_file_cannot_be_read_anew(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="came from no file"):
        reload(parse_config({"server": "https://fleet.example"}, folder=tmp_path))


def test_trust_is_only_off_in_a_simulation_on_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"^trust\.mode = off needs a \[simulation\] section"):
        parse_config({"server": "https://fleet.example", "trust": {"mode": "off"}}, folder=tmp_path)
    local = {"server": "http://127.0.0.1:8000", "trust": {"mode": "off"}, "simulation": {"speed": 1.0}}
    assert parse_config(local, folder=tmp_path).is_simulation is True


def test_every_key_has_a_type_that_can_be_said_a_default_and_a_variable_of_its_own() -> None:
    keys = list_keys()
    assert len({variable_of(key) for key in keys}) == len(keys)
    assert all(describe_type(hint) for hint in keys.values())
    undefaulted = set(keys) - set(list_defaults())
    assert undefaulted == {"server", "state_dir", "cache_dir"}


def test_defaults_are_what_an_empty_configuration_has(home: Path) -> None:
    loaded = load(ask(home), needs_server=False)
    for key, value in list_defaults().items():
        assert loaded.settings[key].value == value
    assert dump_rules(loaded.config.rules) == {
        key.removeprefix("rules."): value for key, value in list_defaults().items() if key.startswith("rules.")
    }


def test_every_section_documents_each_of_its_keys() -> None:
    undocumented = [
        f"{section}.{name}"
        for section, kind in list_sections().items()
        for name in kind.__dataclass_fields__
        if f"{section}.{name}" in list_keys() and name not in _words(kind)
    ]
    assert undocumented == []


def _words(kind: type) -> str:
    return " ".join(each.__doc__ or "" for each in kind.__mro__)


@given(number=st.integers(-(2**40), 2**40))
def test_any_number_is_taken_or_refused_with_its_range(number: int) -> None:
    document = {"server": "https://fleet.example", "limits": {"replicas": number}}
    if 1 <= number <= 256:
        assert parse_config(document, folder=Path("/")).limits.replicas == number
        return
    with pytest.raises(ConfigInvalid, match=f"^limits.replicas must be from 1 to 256, not {number}$"):
        parse_config(document, folder=Path("/"))


def test_a_configuration_is_a_value(tmp_path: Path) -> None:
    config = parse_config({"server": "https://fleet.example"}, folder=tmp_path)
    assert replace(config) == config
