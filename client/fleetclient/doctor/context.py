"""What the checks share: the configuration if it can be read, and what has been found out on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetclient.config import Config, ConfigInvalid, Loaded, Request, load
from fleetclient.config.loading import list_files
from fleetclient.config.paths import user_config
from fleetclient.vehicle.signals import Signals


@dataclass
class Context:
    """`loaded` is None when the configuration cannot be used; `problem` then says why."""

    request: Request
    loaded: Loaded | None
    problem: str
    files: Sequence[Path]
    signals: Signals | None = None

    @property
    def config(self) -> Config | None:
        """The configuration, or None."""
        return self.loaded.config if self.loaded else None

    @property
    def config_file(self) -> Path:
        """The file in which the owner would mend something."""
        return self.files[0] if self.files else user_config(self.request.environment)


def open_context(request: Request) -> Context:
    """Return the context of one examination."""
    files = list_files(request)
    try:
        return Context(request=request, loaded=load(request, needs_server=False), problem="", files=files)
    except ConfigInvalid as error:
        return Context(request=request, loaded=None, problem=str(error), files=files)
