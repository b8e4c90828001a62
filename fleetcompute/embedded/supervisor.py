"""The supervisor: starts services and programs in order, restarts what crashes, ends all in reverse order.

It has one thread and no Django. `Fleet` (in `handle`) starts it as a process of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from fleetcompute.embedded import programs
from fleetcompute.embedded.errors import EmbeddedError, log_tail
from fleetcompute.embedded.home import PROJECT_ROOT, write_json
from fleetcompute.embedded.ports import LOOPBACK, free_port, is_port_free
from fleetcompute.embedded.process import Child, kill_group, spawn, tie_to_parent, wait_until
from fleetcompute.embedded.services import Services

WEB_PORT_PREFERRED = 8000
WEB_READY_SECONDS = 60.0
GRACE_SECONDS = 15.0
WATCH_SECONDS = 0.25
BACKOFF_SECONDS_MAX = 30.0
# A program that ran this long before it crashed is restarted at once again.
HEALTHY_SECONDS = 60.0
DEMO_COMMAND = "demo_accounts"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What `up` can be asked for. `port` None: 8000 if it is free, else any; 0: any."""

    home: Path
    host: str = LOOPBACK
    port: int | None = None
    web_workers: int = 2
    web_threads: int = 4
    worker_concurrency: int = 2
    has_demo_data: bool = True
    is_durable: bool = True


@dataclasses.dataclass(kw_only=True)
class Watched:
    """A running child, how to start it again, and its record of crashes."""

    child: Child
    start: Callable[[], Child]
    crashes: int = 0
    retry_at: float | None = None


class SupervisorProcess:
    """One run of `up`, from the first service to the last."""

    def __init__(self, options: Options, *, say: Callable[[str], None]) -> None:
        self.options = options
        self.say = say
        self.services = Services(options.home, is_durable=options.is_durable, say=say)
        self.home = self.services.home
        self.watched: list[Watched] = []
        self.stopping = threading.Event()
        self.port = self._web_port()
        self.web_url = f"http://{options.host}:{self.port}"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM. Raises EmbeddedError when the start fails, with all children ended."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stopping.set())
        with self.services, contextlib.ExitStack() as stack:
            stack.callback(self.home.endpoints_path.unlink, missing_ok=True)
            stack.callback(self._stop_programs)
            self._watch_services()
            self.manage("migrate", "--no-input", "--verbosity=0")
            if not self.stopping.is_set():
                self._start_programs()
            if self.stopping.is_set():
                return
            self._publish()
            self._announce()
            while not self.stopping.wait(WATCH_SECONDS):
                self.restart_crashed(now=time.monotonic())
            self.say("Stopping.")

    def manage(self, *arguments: str) -> str:
        """Run a management command against the services and return what it printed."""
        log_path = self.home.log / "manage.log"
        argv = [sys.executable, "manage.py", *arguments]
        with log_path.open("w") as log:
            process = subprocess.Popen(
                argv,
                cwd=PROJECT_ROOT,
                env=self.program_env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=tie_to_parent(signal.SIGTERM),  # noqa: PLW1509  # see its docstring
            )
            printed, _ = process.communicate()
        if process.returncode != 0 and not self.stopping.is_set():
            reason = log_tail(log_path)
            raise EmbeddedError(f"`manage.py {arguments[0]}` failed: {reason}; its log is {log_path}.")
        return printed

    @property
    def program_env(self) -> dict[str, str]:
        """The environment of every program of the project."""
        env = {"DJANGO_SETTINGS_MODULE": "fleetcompute.settings.development", "FLEET_PUBLIC_URL": self.web_url}
        return {"PYTHONUNBUFFERED": "1", **env, **self.services.env}

    def restart_crashed(self, *, now: float) -> None:
        """Start again what has ended, after 0, 1, 2, 4 … seconds (monotonic `now`)."""
        for watched in self.watched:
            child = watched.child
            if child.is_running():
                continue
            if watched.retry_at is None:
                kill_group(child.pid)
                watched.crashes = 0 if now - child.started_at > HEALTHY_SECONDS else watched.crashes + 1
                pause_seconds = min(2.0 ** (watched.crashes - 2), BACKOFF_SECONDS_MAX) if watched.crashes > 1 else 0.0
                watched.retry_at = now + pause_seconds
                self.say(
                    f"{child.name} ended with code {child.process.returncode}; it starts again in "
                    f"{pause_seconds:.0f} s. Its log is {child.log_path}."
                )
            if now >= watched.retry_at:
                watched.retry_at = None
                self._restart(watched)

    def _restart(self, watched: Watched) -> None:
        try:
            watched.child = watched.start()
        except EmbeddedError as error:
            self.say(str(error))
            watched.crashes += 1
            watched.retry_at = time.monotonic() + min(2.0**watched.crashes, BACKOFF_SECONDS_MAX)
            return
        self.services.record(watched.child)
        self._publish()

    def _web_port(self) -> int:
        wanted = self.options.port
        if not wanted:
            return free_port(WEB_PORT_PREFERRED if wanted is None else None)
        if not is_port_free(wanted, self.options.host):
            raise EmbeddedError(f"Port {wanted} is already in use; choose another with --port.")
        return wanted

    def _watch_services(self) -> None:
        for service in (self.services.postgres, self.services.valkey):
            if service is not None and service.child is not None:
                self.watched.append(Watched(child=service.child, start=service.start))

    def _start_programs(self) -> None:
        options = self.options
        web = programs.web(host=options.host, port=self.port, workers=options.web_workers, threads=options.web_threads)
        self._start(web)
        self._start(programs.admission(origin=self.web_url))
        self._start(programs.anchor())
        if self.services.broker_url:
            self._start(programs.worker(concurrency=options.worker_concurrency))
            self._start(programs.beat(self.home))
        self._wait_web()

    def _start(self, program: programs.Program) -> None:
        def start() -> Child:
            return spawn(
                program.name,
                program.argv,
                log_path=self.home.log / program.log_name,
                env=self.program_env,
                stop_signal=program.stop_signal,
                death_signal=program.death_signal,
            )

        watched = Watched(child=start(), start=start)
        self.watched.append(watched)
        self.services.record(watched.child)

    def _wait_web(self) -> None:
        web = next(watched.child for watched in self.watched if watched.child.name == "web")
        host, port = self.options.host, self.port

        def is_settled() -> bool:
            return self.stopping.is_set() or not web.is_running() or programs.answers_http(host, port)

        settled = wait_until(is_settled, seconds=WEB_READY_SECONDS, every_seconds=0.1)
        if self.stopping.is_set() or (settled and web.is_running()):
            return
        raise EmbeddedError(f"The web server did not start: {log_tail(web.log_path)}; its log is {web.log_path}.")

    def _publish(self) -> None:
        write_json(
            self.home.endpoints_path,
            {
                "database_url": self.services.database_url,
                "broker_url": self.services.broker_url,
                "cache_url": self.services.cache_url,
                "blob_store_url": self.services.blob_store_url,
                "web_url": self.web_url,
                "supervisor_pid": os.getpid(),
                "pids": {"supervisor": os.getpid(), **self.services.pids()},
            },
        )

    def _announce(self) -> None:
        if self.options.has_demo_data and has_command(DEMO_COMMAND):
            self.say(self.manage(DEMO_COMMAND).rstrip())
        self.say(f"FleetCompute runs at {self.web_url} (logs in {self.home.log}). Ctrl-C stops it.")

    def _stop_programs(self) -> None:
        services = {service.child for service in (self.services.postgres, self.services.valkey) if service}
        for watched in reversed(self.watched):
            if watched.child not in services:
                watched.child.stop(grace_seconds=GRACE_SECONDS)


def has_command(name: str) -> bool:
    """Tell whether an application of the project offers a management command, without loading Django."""
    patterns = (f"*/management/commands/{name}.py", f"fleetcompute/*/management/commands/{name}.py")
    return any(any(PROJECT_ROOT.glob(pattern)) for pattern in patterns)
