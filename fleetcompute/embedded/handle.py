"""A whole installation for the length of a `with` block: the demonstration, benchmarks and tests use it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fleetcompute.embedded.errors import EmbeddedError
from fleetcompute.embedded.home import PROJECT_ROOT, Home
from fleetcompute.embedded.process import Child, spawn, wait_until

READY_SECONDS = 240.0
STOP_SECONDS = 90.0


class Supervisor:
    """Context manager: starts the supervisor as a process of its own, and ends it with all its children.

    Use `Supervisor(home=folder, web_port=0, env={"FLEET_LEASE_SECONDS": "20"})`. `env` is added to this process's
    environment for every program. The block is entered when the web server answers; EmbeddedError is raised with
    the supervisor's own sentence when that fails.
    """

    def __init__(
        self,
        *,
        home: Path,
        web_port: int = 0,
        env: Mapping[str, str] | None = None,
        web_workers: int = 2,
        web_threads: int = 4,
        worker_concurrency: int = 2,
        has_demo_data: bool = False,
        is_durable: bool = True,
    ) -> None:
        self.home = Home(home)
        self._extra_env = dict(env or {})
        self._child: Child | None = None
        self._endpoints: dict[str, Any] = {}
        self._argv = [sys.executable, "-m", "fleetcompute.embedded", "up", "--home", str(self.home.root)]
        self._argv += ["--port", str(web_port), "--web-workers", str(web_workers), "--web-threads", str(web_threads)]
        self._argv += ["--worker-concurrency", str(worker_concurrency)]
        self._argv += [] if has_demo_data else ["--no-demo-data"]
        self._argv += [] if is_durable else ["--not-durable"]

    def __enter__(self) -> Self:
        self.home.prepare()
        if self.home.is_locked():
            raise EmbeddedError(f"Another supervisor already runs on {self.home.root}; stop it first.")
        self.home.endpoints_path.unlink(missing_ok=True)
        log_path = self.home.log / "supervisor.log"
        log_path.unlink(missing_ok=True)
        environ = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        child = spawn("the supervisor", self._argv, log_path=log_path, env={**environ, **self._extra_env})
        self._child = child
        try:
            wait_until(lambda: not child.is_running() or self._is_published(), seconds=READY_SECONDS)
        except BaseException:
            self._stop()
            raise
        if not self._endpoints:
            self._stop()
            said = log_path.read_text(errors="replace").strip().splitlines() or ["The supervisor said nothing."]
            raise EmbeddedError(said[-1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def web_url(self) -> str:
        """Address of the web server, without a slash at the end."""
        return str(self._endpoints["web_url"])

    @property
    def database_url(self) -> str:
        """Address of the database."""
        return str(self._endpoints["database_url"])

    @property
    def pids(self) -> dict[str, int]:
        """Ids of the supervisor and its children by name, as they are now; each leads a group or a tree of its own."""
        return dict(self.home.read_endpoints()["pids"])

    @property
    def env(self) -> dict[str, str]:
        """The environment with which other programs of the project (`manage.py`, say) work on this installation."""
        found = {
            "FLEET_HOME": str(self.home.root),
            "FLEET_PUBLIC_URL": self._endpoints["web_url"],
            "DATABASE_URL": self._endpoints["database_url"],
            "CELERY_BROKER_URL": self._endpoints["broker_url"],
            "CACHE_URL": self._endpoints["cache_url"],
            "BLOB_STORE_URL": self._endpoints["blob_store_url"],
        }
        return {**os.environ, **self._extra_env, **{name: value for name, value in found.items() if value}}

    def manage(self, *arguments: str) -> str:
        """Run a management command on this installation and return what it printed; raise EmbeddedError if it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT_ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise EmbeddedError(f"`manage.py {arguments[0]}` failed: {last}")
        return done.stdout

    def _is_published(self) -> bool:
        self._endpoints = self.home.read_endpoints()
        return bool(self._endpoints)

    def _stop(self) -> None:
        if self._child is not None:
            self._child.stop(grace_seconds=STOP_SECONDS)
