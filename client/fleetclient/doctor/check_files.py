"""Files: the configuration, the state folder, the key. Nothing is made and nothing is repaired."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from fleetclient.config.layers import ENVIRONMENT_PREFIX
from fleetclient.doctor.context import Context
from fleetclient.doctor.report import Line, fail, ok, warn

KEY_BYTES = 32


def check_configuration(context: Context) -> Iterator[Line]:
    """Find out whether the configuration can be read and names a server."""
    if context.config is None:
        yield fail("configuration", context.problem, "correct that value; `fleetclient config show --origin` shows all")
        return
    shown = ", ".join(map(str, context.files)) or "no file, only defaults and the environment"
    set_here = [name for name in context.request.environment if name.startswith(ENVIRONMENT_PREFIX)]
    yield ok("configuration", shown + (f"; environment: {', '.join(sorted(set_here))}" if set_here else ""))
    if not context.config.server:
        mend = f'write server = "https://…" into {context.config_file}; the operator of your fleet knows the address'
        yield fail("server address", "no server is named", mend)
    if context.config.is_simulation:
        mend = f"remove [simulation] from {context.config_file} on a real car"
        yield warn("simulation", "this configuration is for demonstrations and tests", mend)


def check_state(context: Context) -> Iterator[Line]:
    """Find out whether the state folder is ours, can be written to, and is closed to others."""
    config = context.config
    if config is None:
        return
    folder = config.state_dir
    if not folder.exists():
        parent = next(each for each in folder.parents if each.exists())
        if os.access(parent, os.W_OK):
            yield ok("state folder", f"{folder} will be made when it is needed")
        else:
            mend = f"run: sudo install -d -m 0700 -o {_user()} {folder}"
            yield fail("state folder", f"{folder} is missing and {parent} cannot be written to", mend)
        return
    mode = folder.stat().st_mode & 0o777
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield fail("state folder", f"{folder} cannot be used", f"run: sudo chown -R {_user()} {folder}")
    elif mode & 0o022:
        yield fail("state folder", f"others may write into {folder} (mode {mode:o})", f"run: chmod 700 {folder}")
    elif mode & 0o055:
        yield warn("state folder", f"others may look into {folder} (mode {mode:o})", f"run: chmod 700 {folder}")
    else:
        yield ok("state folder", str(folder))


def check_identity(context: Context) -> Iterator[Line]:
    """Find out whether there is a key, closed to others, and whether the car is paired and not removed."""
    config = context.config
    if config is None:
        return
    folder = config.state_dir / "identity"
    key = folder / "key"
    if not key.exists():
        yield warn("identity", "this car is not paired yet", "run: fleetclient pair")
        return
    yield from _check_key(key)
    if (folder / "revoked").exists():
        mend = "run: fleetclient unpair, then pair again if the owner wants this car back"
        yield fail("pairing", "this car was removed from the fleet", mend)
        return
    yield _check_pairing(folder / "vehicle.json")


def _check_key(key: Path) -> Iterator[Line]:
    try:
        mode, size = key.stat().st_mode & 0o777, len(key.read_bytes())
    except OSError as error:
        yield fail("key", f"{key} cannot be read: {error.strerror}", f"run: sudo chown -R {_user()} {key.parent}")
        return
    if mode & 0o077:
        yield fail("key", f"others can read {key} (mode {mode:o})", f"run: chmod 600 {key}; if others used it: unpair")
    elif size != KEY_BYTES:
        yield fail("key", f"{key} is damaged", "run: fleetclient unpair, then pair again")
    else:
        yield ok("key", f"{key}, only for {_user()}")


def _check_pairing(path: Path) -> Line:
    if not path.exists():
        return warn("pairing", "this car is not paired yet", "run: fleetclient pair")
    try:
        document = json.loads(path.read_bytes())
        vehicle, director = str(document["vehicle_id"]), bytes.fromhex(document["director_key"])
    except (OSError, ValueError, KeyError, TypeError):
        return fail("pairing", f"{path} is damaged", "run: fleetclient unpair, then pair again")
    if len(director) != KEY_BYTES:
        return fail("pairing", f"{path} has no usable director key", "run: fleetclient unpair, then pair again")
    return ok("pairing", f"paired as {vehicle}")


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
