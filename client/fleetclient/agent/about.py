"""What every sync says about this client: versions, comparison class, walls, and marks by which a copy is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fleetclient.identity import Identity, process_mark
from fleetclient.machine import describe_agent
from fleetclient.wire import AgentInfo


class About:
    """Remembers the answer: finding it out reads several files. `forget` it after a self-test."""

    def __init__(self, state_dir: Path, *, identity: Identity, walls: Mapping[str, bool]) -> None:
        self._state_dir = state_dir
        self._instance = identity.instance
        self._boot = process_mark()
        self._walls = tuple(sorted(name for name, holds in walls.items() if holds))
        self._known: AgentInfo | None = None

    def get(self) -> AgentInfo:
        """Return it."""
        if self._known is None:
            about = describe_agent(self._state_dir)
            self._known = replace(about, instance=self._instance, boot=self._boot, walls=self._walls)
        return self._known

    def forget(self) -> None:
        """Find it out anew the next time."""
        self._known = None
