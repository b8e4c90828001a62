"""PostgreSQL and Valkey for as long as a block runs; either is replaced by an address in the environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from fleetcompute.embedded.home import Home, read_json, write_json
from fleetcompute.embedded.postgres import Postgres
from fleetcompute.embedded.process import Child, describe, end_processes
from fleetcompute.embedded.valkey import Valkey

ORPHANS_GRACE_SECONDS = 15.0


class Services:
    """Context manager: starts the services of one home, and stops them at the end of the block.

    DATABASE_URL and CELERY_BROKER_URL in `environ` replace PostgreSQL and Valkey. With `is_durable` false the
    database does not wait for the disk (for tests). Enter it from a thread that outlives the block: on Linux the
    services end when that thread does. Raises EmbeddedError with one sentence when something will not start.
    """

    def __init__(
        self,
        home: Path,
        *,
        with_postgres: bool = True,
        with_valkey: bool = True,
        is_durable: bool = True,
        environ: Mapping[str, str] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.home = Home(home)
        self.environ = dict(os.environ if environ is None else environ)
        self.say = say or (lambda _: None)
        self.is_durable = is_durable
        self.postgres: Postgres | None = None
        self.valkey: Valkey | None = None
        self._with_postgres = with_postgres and not self.environ.get("DATABASE_URL")
        self._with_valkey = with_valkey and not self.environ.get("CELERY_BROKER_URL")
        self._children: list[Child] = []
        self._exit = contextlib.ExitStack()

    @property
    def database_url(self) -> str | None:
        """Address of the database, None when there is none."""
        return self.postgres.url if self.postgres else self.environ.get("DATABASE_URL")

    @property
    def broker_url(self) -> str | None:
        """Address of Celery's broker, None when there is none."""
        return self.valkey.broker_url if self.valkey else self.environ.get("CELERY_BROKER_URL")

    @property
    def cache_url(self) -> str | None:
        """Address of Django's cache, None when each process has its own."""
        return self.environ.get("CACHE_URL") or (self.valkey.cache_url if self.valkey else None)

    @property
    def blob_store_url(self) -> str:
        """Address of the blob store."""
        return self.environ.get("BLOB_STORE_URL") or self.home.blobs.as_uri()

    @property
    def env(self) -> dict[str, str]:
        """The environment with which a program of this project finds these services."""
        found = {
            "FLEET_HOME": str(self.home.root),
            "DATABASE_URL": self.database_url,
            "CELERY_BROKER_URL": self.broker_url,
            "CACHE_URL": self.cache_url,
            "BLOB_STORE_URL": self.blob_store_url,
        }
        return {**self.environ, **{name: value for name, value in found.items() if value}}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.enter_context(self.home.locked())
            self._end_orphans()
            if self._with_postgres:
                self.postgres = Postgres(self.home, is_durable=self.is_durable)
                if self.postgres.folder.parent != self.home.root:
                    self.say(f"The services' user cannot reach {self.home.root}: data are in {self.postgres.folder}.")
                undo.callback(self.postgres.stop)
                self.record(self.postgres.start())
            if self._with_valkey:
                self.valkey = Valkey(self.home)
                undo.callback(self.valkey.stop)
                self.record(self.valkey.start())
            self._exit = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def record(self, child: Child) -> None:
        """Note a child, in place of an earlier one of that name, where the next run looks for orphans of this one."""
        self._children = [known for known in self._children if known.name != child.name] + [child]
        described = [{"name": c.name, **describe(c.pid, stop_signal=c.stop_signal)} for c in self._children]
        write_json(self.home.children_path, {"children": described})

    def pids(self) -> dict[str, int]:
        """Return the ids of the recorded children by name."""
        return {child.name: child.pid for child in self._children}

    def _end_orphans(self) -> None:
        """End what a killed supervisor left; the lock is ours, so nobody owns these processes any more."""
        left = read_json(self.home.children_path).get("children", [])
        count = end_processes(reversed(left), grace_seconds=ORPHANS_GRACE_SECONDS)
        if count:
            self.say(f"Ended {count} programs that an earlier run had left.")
        self.home.endpoints_path.unlink(missing_ok=True)
