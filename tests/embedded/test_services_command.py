"""`services -- COMMAND`: its exit code, and what is left behind when it is ended or killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from fleetcompute.embedded.home import Home, write_json
from tests.embedded.helpers import are_all_gone, end, recorded_children, run_cli, start_services, with_descendants


def test_the_command_gets_the_addresses_and_its_exit_code_is_ours(home: Path) -> None:
    script = 'test -n "$DATABASE_URL" && test -n "$CELERY_BROKER_URL" && exit 7'
    code, _, complained = run_cli("services", "--not-durable", "--", "sh", "-c", script, home=home)
    assert (code, complained) == (7, "")


def test_a_command_that_does_not_exist_is_one_sentence(home: Path) -> None:
    code, _, complained = run_cli("services", "--not-durable", "--", "no-such-program", home=home)
    assert code == 1
    assert complained == "no-such-program cannot be run: No such file or directory.\n"


def test_a_wrong_pgbin_is_one_sentence(home: Path) -> None:
    code, _, complained = run_cli("services", "--", "true", home=home, PGBIN="/tmp")
    assert code == 1
    assert complained.startswith("PGBIN gives /tmp, which has no program initdb;")
    assert complained.count("\n") == 1


def test_a_second_run_on_the_same_home_is_refused_in_one_sentence(home: Path) -> None:
    first = start_services(home)
    code, _, complained = run_cli("services", "--", "true", home=home)
    assert code == 1
    assert complained.startswith(f"Another supervisor already runs on {home};")
    assert complained.count("\n") == 1
    end(first)


def test_sigterm_ends_the_command_and_all_services(home: Path) -> None:
    process = start_services(home)
    processes = with_descendants([psutil.Process(process.pid)])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert are_all_gone(processes, seconds=5)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux ends children with their parent")
def test_kill_9_of_the_supervisor_ends_all_services_and_the_next_run_recovers(home: Path) -> None:
    process = start_services(home)
    services = with_descendants(list(recorded_children(home).values()))
    process.kill()
    assert are_all_gone(services)
    code, _, complained = run_cli("services", "--not-durable", "--", "true", home=home)
    assert (code, complained) == (0, "")


def test_orphans_of_an_earlier_run_are_found_and_ended_by_the_next(home: Path) -> None:
    process = start_services(home)
    orphans = recorded_children(home)
    # Stopped processes cannot act on the kernel's signal: they stay, as they would on a system that sends none.
    for orphan in orphans.values():
        orphan.suspend()
    process.kill()
    process.communicate()
    assert all(orphan.is_running() for orphan in orphans.values())
    code, printed, complained = run_cli("services", "--not-durable", "--", "true", home=home)
    assert (code, complained) == (0, "")
    assert "Ended 2 programs that an earlier run had left." in printed
    assert are_all_gone(list(orphans.values()), seconds=1)


def test_a_process_id_that_now_belongs_to_another_program_is_left_alone(home: Path) -> None:
    stranger = psutil.Popen(["sleep", "600"])
    place = Home(home)
    place.prepare()
    entry = {"name": "PostgreSQL", "pid": stranger.pid, "started": stranger.create_time() - 3600, "signal": 15}
    write_json(place.children_path, {"children": [entry]})
    code, _, complained = run_cli("services", "--not-durable", "--", "true", home=home)
    assert (code, complained) == (0, "")
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
