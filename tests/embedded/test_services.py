"""PostgreSQL and Valkey as a context manager: what they are, what they keep, and what replaces them."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import stat
import subprocess
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from fleetcompute.embedded import EmbeddedError, Services, ports
from fleetcompute.embedded.identity import erase_data
from tests.embedded.helpers import are_all_gone, with_descendants

IS_ROOT = os.geteuid() == 0


def query(services: Services, statement: str) -> str:
    with contextlib.closing(psycopg2.connect(services.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        connection.commit()
        row = cursor.fetchone() if cursor.description else None
    return str(row[0]) if row else ""


def postgres_only(home: Path) -> Services:
    return Services(home, with_valkey=False, is_durable=False)


@pytest.mark.skipif(not IS_ROOT, reason="only root drops to another user")
def test_services_started_by_root_run_as_an_unprivileged_user_and_create_none(home: Path) -> None:
    users_before = [entry.pw_name for entry in pwd.getpwall()]
    with Services(home, is_durable=False) as services:
        users = {psutil.Process(pid).username() for pid in services.pids().values()}
    assert users == {"nobody"}
    assert [entry.pw_name for entry in pwd.getpwall()] == users_before


@pytest.mark.skipif(not IS_ROOT, reason="only root drops to another user")
def test_a_home_that_the_unprivileged_user_cannot_reach_stays_closed_and_data_go_elsewhere(home: Path) -> None:
    private = home / "private"
    private.mkdir(mode=0o700)
    said: list[str] = []
    inner = private / "fleet"
    try:
        with Services(inner, with_valkey=False, is_durable=False, say=said.append) as services:
            assert query(services, "SELECT 1") == "1"
            assert services.postgres is not None
            assert services.postgres.folder.is_relative_to("/var/tmp")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert len(said) == 1
        assert "cannot reach" in said[0]
    finally:
        erase_data(inner)


def test_the_database_wants_a_password_on_the_socket_and_on_tcp(home: Path) -> None:
    with postgres_only(home) as services:
        assert services.postgres is not None
        for host in (str(services.postgres.folder), "127.0.0.1"):
            with pytest.raises(psycopg2.OperationalError, match="password"):
                psycopg2.connect(host=host, port=services.postgres.port, user="fleetcompute", dbname="fleetcompute")


def test_the_broker_wants_a_password(home: Path) -> None:
    with Services(home, with_postgres=False) as services:
        assert services.valkey is not None
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=services.valkey.port or 0).ping()
        assert redis.Redis.from_url(services.broker_url or "").ping()


def test_keys_and_addresses_are_readable_by_their_owner_only(home: Path) -> None:
    with Services(home, is_durable=False):
        files = [*(home / "keys").iterdir(), home / "run" / "children.json"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_no_password_shows_on_a_command_line(home: Path) -> None:
    with Services(home, is_durable=False) as services:
        shown = " ".join(" ".join(psutil.Process(pid).cmdline()) for pid in services.pids().values())
        passwords = [path.read_text().strip() for path in (home / "keys").iterdir()]
    assert len(passwords) == 2
    assert not any(password in shown for password in passwords)


def test_the_server_counts_statements_inside_functions(home: Path) -> None:
    with postgres_only(home) as services:
        assert query(services, "SHOW pg_stat_statements.track") == "all"
        assert query(services, "SELECT count(*) >= 0 FROM pg_stat_statements") == "True"


def test_a_durable_server_waits_for_the_disk(home: Path) -> None:
    with Services(home, with_valkey=False) as services:
        assert query(services, "SHOW fsync") == "on"
        assert query(services, "SHOW synchronous_commit") == "on"


def test_data_and_queue_are_kept_over_a_restart(home: Path) -> None:
    with Services(home, is_durable=False) as services:
        query(services, "CREATE TABLE kept AS SELECT 42 AS answer")
        redis.Redis.from_url(services.broker_url or "").lpush("queue", "message")
    with Services(home, is_durable=False) as services:
        assert query(services, "SELECT answer FROM kept") == "42"
        assert redis.Redis.from_url(services.broker_url or "").lrange("queue", 0, -1) == [b"message"]


def test_committed_rows_survive_kill_9_of_the_server(home: Path) -> None:
    with postgres_only(home) as services:
        query(services, "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(services.pids()["PostgreSQL"], signal.SIGKILL)
    with postgres_only(home) as services:
        assert query(services, "SELECT answer FROM kept") == "42"


def test_a_stale_pid_file_that_names_another_running_program_is_no_obstacle(home: Path) -> None:
    with postgres_only(home) as services:
        assert services.postgres is not None
        data, identity = services.postgres.data, services.postgres.identity
    options = identity.popen_options if identity else {}
    with subprocess.Popen(["sleep", "600"], cwd="/", **options) as stranger:
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1700000000\n5432\n\n127.0.0.1\n 1 1\n")
        with postgres_only(home) as services:
            assert query(services, "SELECT 1") == "1"
        assert stranger.poll() is None
        stranger.kill()


def test_ports_in_use_are_passed_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as stack:
        taken = []
        for _ in range(2):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            taken.append(listener.getsockname()[1])
        # As if another program had taken both ports between our look and the servers'.
        picked = iter(taken)
        real = ports.free_port
        for module in ("postgres", "valkey"):
            monkeypatch.setattr(
                f"fleetcompute.embedded.{module}.free_port", lambda preferred: next(picked, 0) or real(preferred)
            )
        with Services(home, is_durable=False) as services:
            assert services.postgres is not None
            assert services.valkey is not None
            assert not {services.postgres.port, services.valkey.port} & set(taken)
            assert query(services, "SELECT 1") == "1"


def test_a_second_set_of_services_on_one_home_is_refused(home: Path) -> None:
    with postgres_only(home), pytest.raises(EmbeddedError, match=r"^Another supervisor already runs on .*\.$"):
        postgres_only(home).__enter__()


def test_addresses_in_the_environment_replace_both_services(home: Path) -> None:
    environ = {"DATABASE_URL": "postgresql://elsewhere/db", "CELERY_BROKER_URL": "amqp://elsewhere"}
    with Services(home, environ=environ) as services:
        assert services.pids() == {}
        assert services.env["DATABASE_URL"] == "postgresql://elsewhere/db"
        assert services.env["CELERY_BROKER_URL"] == "amqp://elsewhere"


def test_a_folder_without_binaries_is_refused_in_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGBIN", "/nonexistent")
    with pytest.raises(EmbeddedError, match=r"^PGBIN gives /nonexistent, which has no program initdb; .*\.$"):
        postgres_only(home).__enter__()


def test_data_of_another_release_are_refused_in_one_sentence(home: Path) -> None:
    with postgres_only(home) as services:
        assert services.postgres is not None
        data = services.postgres.data
    (data / "PG_VERSION").write_text("14\n")
    with pytest.raises(EmbeddedError, match=r"was made by PostgreSQL 14 and cannot be used by \d+"):
        postgres_only(home).__enter__()


def test_a_server_that_cannot_start_says_why_and_where_its_log_is(home: Path) -> None:
    with postgres_only(home) as services:
        assert services.postgres is not None
        data = services.postgres.data
    (data / "postgresql.conf").write_text("work_mem = nonsense\n")
    with pytest.raises(EmbeddedError, match=r"^PostgreSQL did not start: .*; its log is .*/log/postgres\.log\.$"):
        postgres_only(home).__enter__()
    with (data / "postgresql.conf").open("w"):
        pass
    with postgres_only(home):  # the lock was given back, and nothing was left running
        pass


def test_an_initdb_that_was_interrupted_is_made_again(home: Path) -> None:
    with postgres_only(home) as services:
        assert services.postgres is not None
        data = services.postgres.data
    data.rename(data.with_name("data.new"))
    (data.with_name("data.new") / "PG_VERSION").unlink()
    with postgres_only(home) as services:
        assert query(services, "SELECT 1") == "1"


def test_nothing_is_left_when_the_block_ends(home: Path) -> None:
    with Services(home, is_durable=False) as services:
        processes = with_descendants([psutil.Process(pid) for pid in services.pids().values()])
        assert len(processes) > 2
    assert are_all_gone(processes, seconds=5)
