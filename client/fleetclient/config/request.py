"""Where a configuration is looked for: what the command line said, and the environment it was said in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleetclient.config.paths import SYSTEM_CONFIG


@dataclass(frozen=True, kw_only=True)
class Request:
    """`file` is what `--config` named, `assignments` what `--set` did. Relative paths start in the working folder."""

    file: Path | None = None
    assignments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    system_file: Path = SYSTEM_CONFIG
