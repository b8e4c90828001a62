"""An embedded Valkey server: Celery's broker and Django's cache, kept between runs by its append-only file."""

from __future__ import annotations

import os
import socket

from fleetcompute.embedded.binaries import find_valkey
from fleetcompute.embedded.errors import EmbeddedError, log_tail
from fleetcompute.embedded.home import Home
from fleetcompute.embedded.identity import data_folder, service_identity
from fleetcompute.embedded.ports import LOOPBACK, free_port
from fleetcompute.embedded.process import Child, spawn, wait_until
from fleetcompute.settings.keyfiles import read_or_make_key

PASSWORD_BYTES = 24
PORT_PREFERRED = 56379
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
START_TRIES_MAX = 3
BROKER_DATABASE = 0
CACHE_DATABASE = 1

CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir "{folder}"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
"""


class Valkey:
    """One server and its data below a home. `start` and `stop` may alternate; the port stays what it was."""

    def __init__(self, home: Home) -> None:
        self.log_path = home.log / "valkey.log"
        self.identity = service_identity()
        self.program = find_valkey(self.identity)
        self.folder = data_folder(home.root, "valkey", self.identity)
        self.password = read_or_make_key(home.keys / "valkey_password", key_bytes=PASSWORD_BYTES)
        self.port: int | None = None
        self.child: Child | None = None

    @property
    def broker_url(self) -> str:
        """Address of the database that Celery uses."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/{BROKER_DATABASE}"

    @property
    def cache_url(self) -> str:
        """Address of the database that Django's cache uses."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/{CACHE_DATABASE}"

    def start(self) -> Child:
        """Start the server and return when it answers. Raises EmbeddedError with one sentence."""
        for _ in range(START_TRIES_MAX):
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            self.port = self.port or free_port(PORT_PREFERRED)
            self.child = child = self._spawn()
            wait_until(lambda: not child.is_running() or self._answers(), seconds=READY_SECONDS)  # noqa: B023
            if child.is_running() and self._answers():
                return child
            child.stop(grace_seconds=STOP_SECONDS)
            if b"in use" not in self.log_path.read_bytes()[log_start:]:
                break
            self.port = None  # somebody took the port between our look and the server's
        raise EmbeddedError(f"Valkey did not start: {log_tail(self.log_path)}; its log is {self.log_path}.")

    def stop(self) -> None:
        """End the server; what it held is on disk."""
        if self.child is not None:
            self.child.stop(grace_seconds=STOP_SECONDS)

    def _spawn(self) -> Child:
        # The password goes by file: other users of the machine can read a command line.
        configuration = self.folder / "valkey.conf"
        configuration.unlink(missing_ok=True)
        with os.fdopen(os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(CONFIGURATION.format(host=LOOPBACK, port=self.port, password=self.password, folder=self.folder))
        if self.identity is not None:
            os.chown(configuration, self.identity.uid, self.identity.gid)
        argv = [str(self.program), str(configuration)]
        return spawn("Valkey", argv, log_path=self.log_path, env=os.environ, identity=self.identity)

    def _answers(self) -> bool:
        """Say hello in the server's own protocol; it answers PONG only when its data are loaded."""
        try:
            with socket.create_connection((LOOPBACK, self.port or 0), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = connection.recv(1024)
                while answer.count(b"\r\n") < 2 and (more := connection.recv(1024)):
                    answer += more
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"
