"""What every command has at hand: its options, the configuration, the state folder, and a way to print."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from fleetclient.config import Config, Loaded, Request, load
from fleetclient.control_socket import AgentNotRunning, ask
from fleetclient.state import StateFolder

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_NOT_RUNNING = 4


class Session:
    """One call of the command."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    @property
    def request(self) -> Request:
        """Where the command line says that the configuration is."""
        options = self.options
        flags = {"log_level": "log_level", "log_format": "log_format"}
        given = [f"{key}={value}" for name, key in flags.items() if (value := getattr(options, name, None)) is not None]
        return Request(file=options.config, assignments=(*options.set, *given))

    @cached_property
    def loaded(self) -> Loaded:
        """The configuration with origins; needs no server."""
        return load(self.request, needs_server=False)

    @property
    def config(self) -> Config:
        """The configuration; needs no server."""
        return self.loaded.config

    def require_server(self) -> Loaded:
        """Return the configuration of a command that has to know the server; raises ConfigInvalid."""
        return load(self.request)

    @cached_property
    def state(self) -> StateFolder:
        """The state folder, made if it is missing."""
        return StateFolder(self.config.state_dir)

    @property
    def zone(self) -> tzinfo:
        """The car's time zone by its rules, else this computer's."""
        name = self.config.rules.time_zone
        return ZoneInfo(name) if name else datetime.now(UTC).astimezone().tzinfo or UTC

    def live_status(self) -> dict[str, Any] | None:
        """Return the running agent's status document, or None when no agent runs."""
        if not self.config.state_dir.is_dir():
            return None
        try:
            return ask(self.config.state_dir, "status")
        except AgentNotRunning:
            return None

    def status(self) -> dict[str, Any]:
        """Return the status document with `running`: the agent's own, or the last one it left."""
        live = self.live_status()
        if live is not None:
            return {**live, "running": True}
        last = self.state.read_status() if self.config.state_dir.is_dir() else {}
        return {**last, "running": False}

    @property
    def wants_json(self) -> bool:
        """True with `--json`."""
        return bool(getattr(self.options, "json", False))

    def show(self, document: Mapping[str, Any], text: str) -> None:
        """Print a document for programs, or its text for people."""
        print(json.dumps(document) if self.wants_json else text, flush=True)
