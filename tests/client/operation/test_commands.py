"""The commands: what they print, their exit status, and that they work with and without a running agent."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fleetclient.cli import main
from fleetclient.cli.parser import make_parser
from fleetclient.cli.records import FIELDS
from fleetclient.cli.times import TimeNotUnderstood, read_duration, read_until
from fleetclient.control import NOTHING_ASKED, Control, ControlState
from fleetclient.control_socket import ControlServer
from fleetclient.history import History
from fleetclient.identity import Identity
from fleetclient.rules.rules import Rules
from fleetclient.state import StateFolder
from fleetclient.trust.verdict import Verdict
from fleetclient.usage import UsageMeter
from fleetclient.wire import AgentInfo, Capacity, SyncRequest, encode_sync_request
from fleetclient.wire.frame import decode_frame
from tests.client.operation.sample import make_status

BERLIN = ZoneInfo("Europe/Berlin")


def _connected(extra: str) -> str:
    """Return the sections, with the scripted car in the place of a real one that they do not name."""
    return extra if "[vehicle]" in extra else f'{extra}\n[vehicle]\nsource = "scripted"\n'


class Console:
    """The command on one car."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.file = folder / "car.toml"
        self.write()
        self._capsys = capsys

    def write(self, extra: str = "") -> None:
        self.file.write_text(f'server = "http://127.0.0.1:1"\nstate_dir = "state"\n{_connected(extra)}')

    def run(self, *words: str) -> tuple[int, str]:
        code = main([*words, "--config", str(self.file)])
        self.error = ""
        captured = self._capsys.readouterr()
        self.error = captured.err
        return code, captured.out

    def ask(self, *words: str) -> dict[str, Any]:
        code, text = self.run(*words, "--json")
        assert text.count("\n") == 1
        document: dict[str, Any] = json.loads(text)
        return document | {"exit": code}


@pytest.fixture
def console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(tmp_path, capsys)


@pytest.fixture
def agent(console: Console) -> Iterator[Callable[..., ControlState]]:
    """Start what answers for an agent: the real control socket with a document of ours."""
    servers: list[ControlServer] = []

    def start(**changes: Any) -> ControlState:
        control = ControlState(StateFolder(console.state).folder)
        servers.append(ControlServer(console.state, control=control, status=lambda: make_status(**changes)))
        servers[-1].start()
        return control

    yield start
    for server in servers:
        server.stop()


# -- times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("90s", 90), ("2d", 172800), ("1h 30min", 5400)]
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1", "1x", "-1h", "1.5h", "0m", "400d", "30m1h", "forevr"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(TimeNotUnderstood, match=r"30m|write forever"):
        read_duration(text)


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("words", "now", "until"),
    [
        ("until 07:00", "2026-01-05T22:00", "2026-01-06T07:00"),
        ("until 07:00", "2026-01-05T06:00", "2026-01-05T07:00"),
        ("until 07:00", "2026-01-05T07:00", "2026-01-06T07:00"),
        ("until tomorrow 07:00", "2026-01-05T06:00", "2026-01-06T07:00"),
        ("until 2026-02-01T12:30", "2026-01-05T06:00", "2026-02-01T12:30"),
        ("1h", "2026-01-05T06:00", "2026-01-05T07:00"),
        # The night in which an hour is missing has 23 hours, the one with an hour twice 25.
        ("until 07:00", "2026-03-28T22:00", "2026-03-29T07:00"),
        ("until 07:00", "2026-10-24T22:00", "2026-10-25T07:00"),
    ],
)
def test_a_pause_ends_at_a_time_of_the_cars_own_zone(words: str, now: str, until: str) -> None:
    assert read_until(words.split(), now_unix=at(now), zone=BERLIN) == at(until)


def test_a_pause_over_a_clock_change_is_as_long_as_the_night() -> None:
    now = at("2026-03-28T22:00")
    assert read_until(["until", "07:00"], now_unix=now, zone=BERLIN) - now == 8 * 3600
    # 02:30 does not exist in that night; the pause ends at the moment that would have been it.
    assert read_until(["until", "02:30"], now_unix=now, zone=BERLIN) - now == 4.5 * 3600


@pytest.mark.parametrize("words", [[], ["forever"], ["until", "resumed"], ["FOREVER"]])
def test_a_pause_without_an_end_lasts_until_resumed(words: list[str]) -> None:
    assert read_until(words, now_unix=0.0, zone=UTC) == math.inf


@pytest.mark.parametrize("words", ["until 25:00", "until", "until noon", "until 2020-01-01T00:00", "tomorrow"])
def test_a_time_that_makes_no_sense_pauses_nothing(console: Console, words: str) -> None:
    code, text = console.run("pause", *words.split())
    assert (code, text) == (1, "")
    assert console.error.startswith("fleetclient: ")
    assert ControlState(StateFolder(console.state).folder).read() == NOTHING_ASKED


# -- control ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "control"),
    [
        (["pause"], Control(paused_until_unix=math.inf)),
        (["pause", "forever"], Control(paused_until_unix=math.inf)),
        (["stop-now"], Control(paused_until_unix=math.inf)),
        (["finish"], Control(is_finishing=True)),
        (["resume"], NOTHING_ASKED),
    ],
)
def test_a_wish_is_heard_by_a_running_agent_and_kept_for_one_that_comes(
    console: Console, agent: Callable[..., ControlState], command: list[str], control: Control
) -> None:
    assert console.ask(*command)["agent_running"] is False
    assert ControlState(console.state).read() == control
    running = agent()
    running.pause(5.0)
    answer = console.ask(*command)
    assert (answer["exit"], answer["done"], answer["agent_running"]) == (0, True, True)
    assert running.read() == control


def test_a_pause_for_a_time_says_until_when(console: Console, agent: Callable[..., ControlState]) -> None:
    console.write('[rules]\ntime_zone = "Asia/Ho_Chi_Minh"\n')
    running = agent()
    before = time.time()
    answer = console.ask("pause", "1h")
    assert before + 3600 <= answer["paused_until"] <= time.time() + 3600
    assert running.read().paused_until_unix == answer["paused_until"]
    _, text = console.run("pause", "until", "2099-01-01T06:30")
    assert text == "Paused until 2099-01-01 06:30.\n"


def test_status_without_an_agent_is_one_sentence(console: Console) -> None:
    assert console.run("status") == (0, "The agent is not running.\n")
    assert console.ask("status")["running"] is False
    assert not console.state.exists()


def test_status_says_what_the_car_does_and_what_holds_it_back(
    console: Console, agent: Callable[..., ControlState]
) -> None:
    agent()
    code, text = console.run("status")
    assert code == 0
    assert text.splitlines()[0] == "Waiting: battery 58 % - starts at 70 % (about 14:20)."
    assert "The battery is at 58 %; work starts at 70 %." in text
    assert "worked 3 h 12 min, 181.4 MB moved, 17 units finished" in text
    answer = console.ask("status")
    assert (answer["running"], answer["car"]) == (True, "Blue ID.3 <b>&")


def test_watching_ends_when_the_agent_does(console: Console, agent: Callable[..., ControlState]) -> None:
    code, text = console.run("status", "--watch")
    assert (code, text) == (4, "The agent is not running.\n")


# -- rules --------------------------------------------------------------------------------------------------------


def test_rules_are_explained_from_the_source_when_no_agent_runs(console: Console) -> None:
    console.write('[rules]\naway_mode = "vacation"\n')
    answer = console.ask("rules", "explain")
    assert (answer["exit"], answer["from"], answer["allow"]) == (0, "source", False)
    closed = [gate["name"] for gate in answer["gates"] if not gate["open"]]
    assert closed == ["away"]
    code, text = console.run("rules", "explain")
    assert code == 0
    assert "No agent is running" in text
    assert "CLOSED  away" in text


def test_a_pause_is_seen_by_the_explanation_without_an_agent(console: Console) -> None:
    console.run("pause")
    assert console.ask("rules", "explain")["reasons"][0] == "paused_user"


def test_rules_are_explained_from_the_running_agent(console: Console, agent: Callable[..., ControlState]) -> None:
    agent()
    answer = console.ask("rules", "explain")
    assert (answer["from"], answer["reasons"]) == ("agent", ["soc_low", "outside_hours"])
    _, text = console.run("rules", "explain")
    assert len([line for line in text.splitlines() if line.startswith("CLOSED")]) == 2


def test_rules_show_who_set_them_and_where_the_server_is_stricter(console: Console) -> None:
    console.write("[rules]\nstart_soc_pct = 75\n")
    StateFolder(console.state)
    (console.state / "server-rules.json").write_text(json.dumps({"stop_soc_pct": 72, "start_soc_pct": 74}))
    rules = console.ask("rules", "show")["rules"]
    assert rules["start_soc_pct"] == {"value": 75.0, "origin": f"file {console.file}"}
    assert rules["stop_soc_pct"] == {"value": 72.0, "origin": "server, stricter than yours"}
    assert rules["cabin_max_c"] == {"value": Rules().cabin_max_c, "origin": "default"}


# -- records ------------------------------------------------------------------------------------------------------


def test_history_shows_sessions_and_days(console: Console) -> None:
    now = time.time()
    state = StateFolder(console.state)
    history = History(state.history, now_unix=now)
    history.begin(now_unix=now - 7200)
    history.add(now_unix=now - 3600, units=3, rows=192, worked_seconds=3500.0, energy_wh=20.0)
    history.end("driving", now_unix=now - 3600, bytes_moved=5_000_000)
    history.close()
    meter = UsageMeter(state.usage)
    meter.add_bytes(1_000_000, 4_000_000)
    meter.close()
    answer = console.ask("history")
    assert [(each["units"], each["reason"]) for each in answer["sessions"]] == [(3, "driving")]
    assert sum(day["bytes_moved"] for day in answer["days"]) == 5_000_000
    _, text = console.run("history")
    assert "worked 58 min 20 s, 3 units, 192 rows, 5.0 MB, 0.02 kWh; ended: driving" in text


def test_history_asks_the_running_agent_for_today_whose_stored_counts_run_ahead(
    console: Console, agent: Callable[..., ControlState]
) -> None:
    meter = UsageMeter(StateFolder(console.state).usage)
    meter.add_bytes(100, 23)  # not closed: the file holds megabytes more
    usage = {"bytes_today": 123, "bytes_this_month": 123, "worked_seconds_today": 4.0, "energy_wh_today": 2.0}
    agent(usage=usage)
    (today,) = console.ask("history")["days"]
    assert (today["bytes_moved"], today["worked_seconds"], today["energy_wh"]) == (123, 4.0, 2.0)


def test_history_of_a_car_that_never_worked_says_so(console: Console) -> None:
    assert console.run("history") == (0, "The car has not worked yet.\n")


def test_data_shows_the_last_message_and_what_never_leaves(console: Console) -> None:
    StateFolder(console.state)
    message = {
        "protocol": 1,
        "state": {"eligible": False, "reasons": ["soc_low"]},
        "held": ["a", "b", "c", "d", "e"],
        "new": 1,
    }
    (console.state / "last-sync.json").write_text(
        json.dumps({"at": time.time(), "attachment_bytes": 2048, "message": message})
    )
    answer = console.ask("data")
    fields = {each["field"]: each for each in answer["fields"]}
    assert fields["state.reasons"] == {
        "field": "state.reasons", "meaning": "if not: the codes of the reasons", "value": ["soc_low"],
    }  # fmt: skip
    assert fields["held"]["value"] == ["a", "b", "c", "d", "e"]
    assert fields["new"]["value"] == 1
    assert any("position" in each for each in answer["never_leaves"])
    _, text = console.run("data")
    assert "2.0 kB of results" in text
    assert "… and 2 more" in text
    assert "What never leaves the car:" in text


def test_data_has_a_meaning_for_every_field_that_a_message_can_have(console: Console) -> None:
    StateFolder(console.state)
    agent = AgentInfo(
        version="1.0.0", runtime="r", comparison_class="c", instance="a" * 32, boot="b" * 32, walls=("x",)
    )
    capacity = Capacity(replicas=1, memory_bytes=1, opset_max=1)
    frame = encode_sync_request(
        SyncRequest(
            agent=agent, capacity=capacity, eligible=True, reasons=(), models=(), held=(), commitments=(), returned=(),
            clock_skew_seconds=1.0,
        )
    )  # fmt: skip
    (console.state / "last-sync.json").write_text(json.dumps({"at": time.time(), "message": decode_frame(frame)[0]}))
    names = {each["field"] for each in console.ask("data")["fields"]}
    assert names == set(FIELDS)


def test_finishing_is_said_though_its_gate_is_open(console: Console, agent: Callable[..., ControlState]) -> None:
    gate = {"name": "finishing", "open": True, "reason": "", "detail": "No new work is taken.", "until": None}
    pause = {"until": None, "forever": False, "finishing": True}
    agent(gates=[gate], pause=pause)
    assert "  - No new work is taken." in console.run("status")[1]


def test_data_of_a_car_that_said_nothing_still_says_what_never_leaves(console: Console) -> None:
    code, text = console.run("data")
    assert code == 0
    assert text.startswith("This car has not sent a message yet.")
    assert "position" in text


def test_simulated_days_add_up_and_are_the_same_for_one_seed(console: Console) -> None:
    console.write('[rules]\ntime_zone = "Europe/Berlin"\nwindows = "night"\n')
    words = ("simulate", "--days", "2", "--start", "2026-01-12", "--seed", "7")
    answer = console.ask(*words)
    assert [day["date"] for day in answer["days"]] == ["2026-01-12", "2026-01-13"]
    assert len(answer["hours"]) == 48
    assert all(sum(hour["minutes"].values()) == 60 for hour in answer["hours"])
    total = answer["worked_hours"] + sum(answer["reasons_hours"].values())
    assert total == pytest.approx(48.0, abs=0.2)
    for hour in answer["hours"]:  # nothing outside of the night
        if 6 <= datetime.fromisoformat(hour["start"]).hour < 22:
            assert hour["worked_minutes"] == 0
    assert console.ask(*words) == answer
    assert console.ask(*words[:-1], "8") != answer


def test_the_day_of_the_clock_change_has_23_hours_in_a_simulation(console: Console) -> None:
    console.write('[rules]\ntime_zone = "Europe/Berlin"\n')
    answer = console.ask("simulate", "--days", "1", "--start", "2026-03-29")
    hours = [datetime.fromisoformat(hour["start"]) for hour in answer["hours"]]
    assert len(hours) == 24
    assert [hour.date().isoformat() for hour in hours].count("2026-03-29") == 23
    assert all(later - earlier == timedelta(hours=1) for earlier, later in pairwise(hours))


def test_a_day_that_is_none_is_refused(console: Console) -> None:
    assert console.run("simulate", "--start", "tomorrow") == (1, "")
    assert "2026-01-05" in console.error


# -- configuration ------------------------------------------------------------------------------------------------


def test_config_show_hides_secrets_and_names_origins(console: Console) -> None:
    console.write('[home_assistant]\npassword = "hunter22"\n[network]\nproxy = "http://a:hunter22@proxy:1"\n')
    console.file.chmod(0o600)
    answer = console.ask("config", "show")
    assert "hunter22" not in json.dumps(answer)
    assert answer["values"]["home_assistant.password"] == {"value": "(hidden)", "origin": f"file {console.file}"}
    assert answer["values"]["limits.replicas"] == {"value": 8, "origin": "default"}
    _, text = console.run("config", "show", "--origin")
    assert "hunter22" not in text
    assert f"# file {console.file}" in text


def test_a_wrong_configuration_is_told_by_every_command(console: Console) -> None:
    console.file.write_text("sever = 1")
    for words in (["status"], ["run"], ["pair"], ["config", "show"], ["rules", "show"], ["simulate"], ["data"]):
        code, text = console.run(*words)
        assert (code, text) == (1, "")
        assert "did you mean server?" in console.error


# -- unpair -------------------------------------------------------------------------------------------------------


@pytest.fixture
def paired(console: Console) -> Console:
    state = StateFolder(console.state)
    Identity(state.identity).remember_pairing(vehicle_id="veh_1", director_key=b"\7" * 32)
    for name in ("history.sqlite", "usage.json", "control.json"):
        (console.state / name).write_text("{}")
    (console.state / "cache").mkdir()
    (console.state / "cache" / "model").write_text("x")
    return console


def test_unpairing_forgets_the_identity_and_keeps_the_rest(paired: Console) -> None:
    answer = paired.ask("unpair", "--yes")
    assert (answer["exit"], answer["unpaired"], answer["server_told"]) == (0, True, False)
    assert not (paired.state / "identity").exists()
    assert (paired.state / "history.sqlite").exists()
    assert (paired.state / "cache" / "model").exists()


def test_a_car_that_was_removed_is_not_called_paired(paired: Console) -> None:
    paired.file.write_text(f'server = "http://127.0.0.1:1"\nstate_dir = "{paired.state}"\n')
    Identity(StateFolder(paired.state).identity).remember_revoked()
    assert paired.run("pair") == (1, "")
    assert "removed from the fleet: fleetclient unpair, then pair it again" in paired.error


def test_wiping_leaves_nothing_of_the_car(paired: Console) -> None:
    assert paired.run("unpair", "--yes", "--wipe")[0] == 0
    assert [path.name for path in paired.state.iterdir()] == ["agent.lock"]


def test_without_a_yes_nothing_is_removed(paired: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert paired.run("unpair", "--wipe")[0] == 1
    assert "Nothing was changed." in paired.error
    assert (paired.state / "identity" / "key").exists()
    assert (paired.state / "usage.json").exists()


def test_a_car_at_work_cannot_be_unpaired(paired: Console) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom fleetclient.state import StateFolder\n"
        "state = StateFolder(Path(sys.argv[1]))\nstate.lock()\nprint('locked', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(paired.state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert paired.run("unpair", "--yes")[0] == 1
        assert "another agent is using" in paired.error
        other.communicate("")
    assert (paired.state / "identity" / "key").exists()


# -- releases and trust ---------------------------------------------------------------------------------------------


def test_trust_shows_the_root_to_compare_and_until_when_its_word_holds(console: Console) -> None:
    code, text = console.run("trust", "show")
    assert (code, text) == (0, "The fleet's signed metadata has not been read yet.\n")
    now = time.time()
    verdict = Verdict(checked_at=now, valid_until=now + 7200.5, root_sha256="ab" * 32)
    (console.state / "trust" / "verdict.json").write_bytes(verdict.to_json())
    answer = console.ask("trust", "show")
    assert (answer["root_sha256"], answer["stop_reason"]) == ("ab" * 32, "")
    assert answer["valid_until"] == pytest.approx(now + 7200.5)
    _, text = console.run("trust", "show")
    assert "ab" * 32 in text
    assert "(2 h)" in text


@pytest.mark.parametrize("words", [("update", "check"), ("update", "apply")])
def test_a_look_for_releases_that_fails_is_said_and_changes_nothing(console: Console, words: tuple[str, str]) -> None:
    answer = console.ask(*words)
    assert answer["exit"] == 1
    assert "unreachable" in answer["error"]
    assert not (console.state / "client").exists()


# -- the command line ---------------------------------------------------------------------------------------------


def test_every_command_says_what_it_does_and_has_a_function() -> None:
    from importlib import import_module

    for name, command in list_commands(make_parser()).items():
        assert command.description, name
        function = command.get_default("function")
        if function:
            module, _, attribute = function.partition(":")
            assert callable(getattr(import_module(f"fleetclient.cli.{module}"), attribute)), name


def list_commands(parser: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for action in parser._subparsers._group_actions if parser._subparsers else ():
        for name, command in action.choices.items():
            found[f"{prefix}{name}"] = command
            found |= list_commands(command, f"{prefix}{name} ")
    return found


@pytest.mark.parametrize("words", [[], ["dance"], ["simulate", "--days", "0"], ["simulate", "--days", "x"], ["rules"]])
def test_a_command_line_that_makes_no_sense_is_exit_status_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: fleetclient" in capsys.readouterr().err


def test_starting_the_agent_loads_nothing_of_the_other_commands() -> None:
    code = (
        "import sys\nfrom fleetclient.cli.parser import make_parser\nimport fleetclient.cli\n"
        "fleetclient.cli.main(['run', '--config', '/nowhere.toml'])\n"
        "print([name for name in ('numpy', 'onnxruntime', 'tuf', 'cantools', 'can', 'http.server',"
        " 'fleetclient.doctor',"
        " 'fleetclient.live', 'fleetclient.support_bundle') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"
    assert "nowhere.toml" in done.stderr
