"""An embedded PostgreSQL server: created on first use, kept between runs.

It listens on a Unix socket and on 127.0.0.1 at a free port, and wants a password on both: other users of the machine
can reach either.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2

from fleetcompute.embedded.binaries import find_postgres
from fleetcompute.embedded.errors import EmbeddedError, log_tail
from fleetcompute.embedded.home import Home
from fleetcompute.embedded.identity import data_folder, service_identity
from fleetcompute.embedded.ports import LOOPBACK, free_port
from fleetcompute.embedded.process import Child, kill_group, spawn, wait_until
from fleetcompute.settings.keyfiles import read_or_make_key

USER = DATABASE = "fleetcompute"
LOCALE = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
PASSWORD_BYTES = 24
PORT_PREFERRED = 54320
# Crash recovery replays what was written since the last checkpoint, which takes its time on a slow disk.
READY_SECONDS = 120.0
STOP_SECONDS = 30.0
START_TRIES_MAX = 5
# sun_path holds 108 bytes; the name of the socket file itself takes up to 16.
SOCKET_FOLDER_BYTES_MAX = 90

SETTINGS: Mapping[str, str] = {
    "max_connections": "100",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    # Short statements by key: compiling or parallelising them costs more than running them.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    # One server without standbys: the least write-ahead log that survives a crash, in widely spaced checkpoints.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # Queue-like tables turn over quickly; dead rows must go before they slow the claims down.
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_cost_limit": "2000",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "password_encryption": "scram-sha-256",
    "log_min_duration_statement": "1000",
    "log_line_prefix": "%m [%p] ",
}
# For data that a test throws away: nothing survives a power cut, everything survives a crash of the server.
UNSAFE_SETTINGS: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}


class Postgres:
    """One server and its data below a home. `start` and `stop` may alternate; the port stays what it was."""

    def __init__(self, home: Home, *, is_durable: bool = True) -> None:
        self.log_path = home.log / "postgres.log"
        self.identity = service_identity()
        self.binaries = find_postgres(self.identity)
        self.folder = data_folder(home.root, "postgres", self.identity)
        self.data = self.folder / "data"
        self.password = read_or_make_key(home.keys / "postgres_password", key_bytes=PASSWORD_BYTES)
        self.is_durable = is_durable
        self.settings = {**SETTINGS, **({} if is_durable else UNSAFE_SETTINGS)}
        self.has_socket = len(os.fsencode(self.folder)) <= SOCKET_FOLDER_BYTES_MAX
        self.port: int | None = None
        self.child: Child | None = None

    @property
    def url(self) -> str:
        """Address of the database, through the Unix socket where its path is short enough: it saves the TCP stack."""
        host = quote(str(self.folder), safe="") if self.has_socket else LOOPBACK
        return f"postgresql://{USER}:{self.password}@{host}:{self.port}/{DATABASE}"

    def start(self) -> Child:
        """Start the server, create its data and database if need be, and return when it answers.

        Recovers from a stale pid file and from a kill. Raises EmbeddedError with one sentence.
        """
        self._create_data()
        self._end_leftovers()
        for _ in range(START_TRIES_MAX):
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            self.port = self.port or free_port(PORT_PREFERRED)
            self.child = self._spawn()
            if self._wait_ready(self.child):
                self._create_database()
                return self.child
            said = self.log_path.read_bytes()[log_start:].decode(errors="replace")
            if "pre-existing shared memory" in said:
                # Processes of a killed server are still leaving.
                wait_until(lambda: False, seconds=1.0)
            elif "in use" in said:
                self.port = None  # somebody took the port between our look and the server's
            else:
                break
        reason = log_tail(self.log_path)
        raise EmbeddedError(f"PostgreSQL did not start: {reason}; its log is {self.log_path}.")

    def stop(self) -> None:
        """End the server: open transactions are rolled back, data are on disk."""
        if self.child is not None:
            self.child.stop(grace_seconds=STOP_SECONDS)

    def _create_data(self) -> None:
        version_path = self.data / "PG_VERSION"
        if version_path.exists():
            made_by = int(version_path.read_text())
            if made_by != self.binaries.major:
                raise EmbeddedError(
                    f"{self.data} was made by PostgreSQL {made_by} and cannot be used by {self.binaries.major}; "
                    "use the same PGBIN as before, or set FLEET_HOME to a new folder."
                )
            return
        # A finished folder appears by rename: one that an interrupted initdb left is made again.
        draft = self.folder / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        password_path = self._write_password()
        argv = [str(self.binaries.initdb), "-D", str(draft), "-U", USER, f"--pwfile={password_path}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", f"--locale={LOCALE}"]
        argv += [] if self.is_durable else ["--no-sync"]
        drop = self.identity.popen_options if self.identity else {}
        with self.log_path.open("ab") as log:
            done = subprocess.run(argv, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, **drop)
        password_path.unlink()
        if done.returncode != 0:
            raise EmbeddedError(f"initdb failed: {log_tail(self.log_path)}; its log is {self.log_path}.")
        draft.rename(self.data)

    def _write_password(self) -> Path:
        path = self.folder / "password.new"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.password)
        if self.identity is not None:
            os.chown(path, self.identity.uid, self.identity.gid)
        return path

    def _end_leftovers(self) -> None:
        """Deal with `postmaster.pid`: end our own server of an earlier run, forget a number that is not ours.

        PostgreSQL itself ignores the file when its process is gone, but refuses to start when the number belongs to
        any program of the same user.
        """
        pid_path = self.data / "postmaster.pid"
        try:
            pid = int(pid_path.read_text().splitlines()[0])
            argv = psutil.Process(pid).cmdline()
        except (OSError, ValueError, IndexError, psutil.Error):
            return
        if str(self.data) not in argv:
            pid_path.unlink(missing_ok=True)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        if not wait_until(lambda: not psutil.pid_exists(pid), seconds=STOP_SECONDS):
            kill_group(pid)

    def _spawn(self) -> Child:
        settings = {
            **self.settings,
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": f'"{self.folder}"' if self.has_socket else "",
        }
        argv = [str(self.binaries.postgres), "-D", str(self.data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for its clients to leave.
        return spawn(
            "PostgreSQL",
            argv,
            log_path=self.log_path,
            env=os.environ,
            stop_signal=signal.SIGINT,
            identity=self.identity,
        )

    def _wait_ready(self, child: Child) -> bool:
        wait_until(lambda: not child.is_running() or self._answers(), seconds=READY_SECONDS)
        if child.is_running() and self._answers():
            return True
        child.stop(grace_seconds=STOP_SECONDS)
        return False

    def _answers(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def _create_database(self) -> None:
        with contextlib.closing(self._connect("postgres")) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE}")
        with contextlib.closing(self._connect(DATABASE)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            connection.commit()

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=str(self.folder) if self.has_socket else LOOPBACK,
            port=self.port,
            user=USER,
            password=self.password,
            dbname=database,
            connect_timeout=5,
        )
