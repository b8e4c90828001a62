"""One unit in the vehicle client's confined runner, as a process: the same walls and the same output as in a car.

The server imports nothing of the client. It writes the unit's files into a folder, starts the client's command
`anchor run`, and reads one JSON object. Where the command says nothing, this machine is at fault and not the unit.
The client ends with this process, and gets none of its environment but where programs are found.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final

from workunits.domain.errors import FleetError

# A self-test of the machine takes some seconds, and may have to wait for a busy processor.
CHECK_SECONDS_MAX: Final = 300.0
# Beyond what the contract allows for loading and for running: starting, a self-test that is due, writing.
START_SECONDS_MAX: Final = 200.0
BEAT_SECONDS: Final = 5.0
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV")
# What a run says of itself is some hundred bytes.
SAID_BYTES_MAX: Final = 64 * 1024
# Reasons of the client that are this machine's fault, not the unit's.
_OWN_FAULTS: Final = frozenset({"disk_full", "unconfined"})


class AnchorUnfit(FleetError):
    """This machine cannot run units again as a car would."""

    code: ClassVar[str] = "anchor_unfit"


class RunFailed(FleetError):
    """The unit cannot be run."""

    code: ClassVar[str] = "anchor_run_failed"


class RunStopped(FleetError):
    """The run was broken off because this anchor is to end."""

    code: ClassVar[str] = "anchor_stopped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """How the vehicle client is started here, and the folder that is its own and its runs'."""

    command: tuple[str, ...]
    folder: Path

    @property
    def state_option(self) -> str:
        """The option that gives the client its own folder, whatever a configuration on this machine says."""
        return f"--set=state_dir={self.folder / 'client'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerun:
    """The output of a run: its file and SHA-256; in which class and how many processor seconds it took."""

    path: Path
    sha256: str
    comparison_class: str
    seconds: float


class Stopwatch:
    """Tells how long ago it was made, however the clock is set meanwhile."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()

    @property
    def elapsed(self) -> timedelta:
        """The time since it was made."""
        return timedelta(seconds=time.monotonic() - self._began_at)


@lru_cache(maxsize=4)
def check_machine(client: Client) -> str:
    """Return the comparison class of this machine, if it can confine a model and its self-test passes.

    Remembered while it can. Raises AnchorUnfit.
    """
    client.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = [*client.command, "anchor", "check", "--json", client.state_option]
    try:
        done = subprocess.run(
            argv, capture_output=True, cwd=client.folder, env=_environment(), timeout=CHECK_SECONDS_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AnchorUnfit(f"The client's command cannot be run: {error}") from None
    if done.returncode != 0:
        raise AnchorUnfit(_last_line(done.stderr) or f"`anchor check` ended with {done.returncode}.")
    return str(_read_said(done.stdout).get("class", ""))


def run_unit(
    client: Client,
    folder: Path,
    *,
    contract: Mapping[str, Any],
    model: Path,
    unit_input: bytes,
    rows: int,
    beat: Callable[[], None],
    should_stop: Callable[[], bool],
) -> Rerun:
    """Run one unit in `folder`, which is the caller's to remove.

    `beat` is called every few seconds. Raises RunFailed where the unit cannot be
    run, AnchorUnfit where this machine cannot run any, RunStopped when `should_stop` says so.
    """
    (folder / "contract.json").write_text(json.dumps(contract))
    (folder / "input").write_bytes(unit_input)
    output = folder / "output.safetensors"
    argv = [
        *client.command, "anchor", "run", client.state_option, f"--contract={folder / 'contract.json'}",
        f"--model={model}", f"--input={folder / 'input'}", f"--output={output}", f"--rows={rows}",
    ]  # fmt: skip
    seconds_max = 2 * float(contract["limits"]["seconds"]) + START_SECONDS_MAX
    _wait(argv, folder, seconds_max=seconds_max, beat=beat, should_stop=should_stop)
    said = _read_said((folder / "said").read_bytes()[:SAID_BYTES_MAX])
    if not said:
        raise AnchorUnfit(_last_line((folder / "log").read_bytes()) or "The client's command has said nothing.")
    if said["outcome"] != "done":
        kind = AnchorUnfit if said["reason"] in _OWN_FAULTS else RunFailed
        raise kind(f"{said['reason']}: {said['detail']}")
    with output.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != said["sha256"]:
        raise AnchorUnfit("The output's file is not the one that the client has spoken of.")
    return Rerun(path=output, sha256=sha256, comparison_class=str(said["class"]), seconds=float(said["seconds"]))


def _wait(
    argv: list[str],
    folder: Path,
    *,
    seconds_max: float,
    beat: Callable[[], None],
    should_stop: Callable[[], bool],
) -> None:
    began_at = beaten_at = time.monotonic()
    with (folder / "said").open("wb") as said, (folder / "log").open("wb") as log:
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=log, env=_environment())
        except OSError as error:
            raise AnchorUnfit(f"The client's command cannot be run: {error}") from None
    try:
        while True:
            try:
                process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            else:
                return
            if should_stop():
                raise RunStopped
            if now - began_at > seconds_max:
                raise AnchorUnfit(f"The client's command did not end within {seconds_max:.0f} s.")
            if now - beaten_at > BEAT_SECONDS:
                beat()
                beaten_at = now
    finally:
        process.kill()  # nothing happens where it has ended
        process.wait()


def _read_said(said: bytes) -> dict[str, Any]:
    """Return the JSON object that a command printed; nothing where it is none."""
    try:
        document = json.loads(said)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _last_line(words: bytes) -> str:
    lines = words.decode("utf-8", "replace").replace("\0", "").strip().splitlines()
    return lines[-1].removeprefix("fleetclient: ") if lines else ""


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | {"ORT_DISABLE_TELEMETRY": "1"}
