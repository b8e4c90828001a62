"""The whole installation: every program over both services, crashes, and ends of every kind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import urllib.request
from pathlib import Path

import psutil
import psycopg2
import pytest

from fleetcompute.embedded import EmbeddedError, Supervisor
from fleetcompute.embedded.process import wait_until
from fleetcompute.embedded.programs import answers_http
from tests.embedded.helpers import are_all_gone, run_cli, with_descendants

PROGRAMS = {"supervisor", "PostgreSQL", "Valkey", "web", "worker", "beat", "admission", "anchor"}


def start(home: Path) -> Supervisor:
    return Supervisor(home=home, web_workers=1, worker_concurrency=1, is_durable=False)


def family(fleet: Supervisor) -> list[psutil.Process]:
    return with_descendants([psutil.Process(fleet.pids["supervisor"])])


def answers(fleet: Supervisor) -> bool:
    return answers_http("127.0.0.1", int(fleet.web_url.rpartition(":")[2]))


def anchors_of(fleet: Supervisor) -> list[tuple[str, str]]:
    """Return the anchors that were heard of, each with what it lacks."""
    connection = psycopg2.connect(fleet.database_url)
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT name, problem FROM anchor_machine")
        return cursor.fetchall()


def test_a_web_port_in_use_is_one_sentence(home: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        code, _, complained = run_cli("up", "--port", str(port), home=home)
    assert (code, complained) == (1, f"Port {port} is already in use; choose another with --port.\n")


def test_status_and_down_say_that_nothing_runs(home: Path) -> None:
    assert run_cli("status", home=home) == (3, "Nothing is running.\n", "")
    assert run_cli("down", home=home) == (0, "Nothing is running.\n", "")


def test_a_start_that_fails_raises_the_supervisors_own_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGBIN", "/nonexistent")
    with pytest.raises(EmbeddedError, match=r"^PGBIN gives /nonexistent"), start(home):
        pass


def test_a_setting_that_is_wrong_is_named_with_the_log(home: Path) -> None:
    fleet = Supervisor(home=home, env={"FLEET_LEASE_SECONDS": "soon"}, is_durable=False)
    sentence = r"^`manage.py migrate` failed: FLEET_LEASE_SECONDS must be a number, not 'soon'; its log is .*\.$"
    with pytest.raises(EmbeddedError, match=sentence), fleet:
        pass


@pytest.mark.slow
def test_every_program_runs_is_restarted_when_killed_and_ends_with_the_block(home: Path) -> None:
    with start(home) as fleet:
        assert set(fleet.pids) == PROGRAMS
        assert urllib.request.urlopen(f"{fleet.web_url}/healthz").status == 200
        assert "0001_initial" in fleet.manage("showmigrations", "workunits")
        code, printed, _ = run_cli("status", home=home)
        assert code == 0
        assert fleet.web_url in printed
        assert run_cli("up", home=home)[2].startswith("Another supervisor already runs on")

        assert wait_until(lambda: anchors_of(fleet) == [("embedded", "")], seconds=60)

        before = fleet.pids
        for name in PROGRAMS - {"supervisor"}:
            os.kill(before[name], signal.SIGKILL)
        assert wait_until(lambda: all(fleet.pids[n] != before[n] for n in PROGRAMS - {"supervisor"}), seconds=30)
        assert wait_until(lambda: answers(fleet), seconds=30)
        psycopg2.connect(fleet.database_url).close()
        processes = family(fleet)
    assert are_all_gone(processes, seconds=1)
    assert run_cli("status", home=home)[0] == 3


@pytest.mark.slow
def test_kill_9_of_the_supervisor_leaves_nothing_and_loses_nothing(home: Path) -> None:
    with start(home) as fleet:
        fleet.manage("shell", "-c", "from django.core.cache import cache; cache.set('kept', 42, None)")
        processes = family(fleet)
        os.kill(fleet.pids["supervisor"], signal.SIGKILL)
        assert are_all_gone(processes, seconds=30)
    with start(home) as fleet:
        assert "42" in fleet.manage("shell", "-c", "from django.core.cache import cache; print(cache.get('kept'))")
        processes = family(fleet)
        assert run_cli("down", home=home) == (0, "Stopped.\n", "")
        assert are_all_gone(processes, seconds=1)
