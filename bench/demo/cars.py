"""Cars as processes: each is `python -m fleetclient` with a configuration and a state folder of its own.

A car knows the server's address and nothing else: none of the server's settings are in its environment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.demo.cast import CarPlan
from fleetcompute.embedded.process import Child, kill_group, spawn, wait_until

CODE_SECONDS: Final = 30.0
PAIRED_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
# A status older than this may be of a unit that has ended meanwhile.
FRESH_SECONDS: Final = 0.4
KEPT_ENV: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class CarError(RuntimeError):
    """A car's process did not do what it should."""


class Car:
    """One car and the process that is its computer."""

    def __init__(self, plan: CarPlan, *, folder: Path, origin: str) -> None:
        self.plan = plan
        self.folder = folder / plan.key
        self.folder.mkdir(parents=True)
        self.log_path = self.folder / "car.log"
        self._away_path = self.folder / "away"
        self._config_path = self.folder / "car.toml"
        self._config_path.write_text(_config_text(plan, origin=origin, away_file=self._away_path.name))
        self._child: Child | None = None

    def __str__(self) -> str:
        return f"{self.plan.owner}'s {self.plan.name}"

    @property
    def is_running(self) -> bool:
        """Whether the car's computer is on."""
        return self._child is not None and self._child.is_running()

    def ask_for_pairing(self) -> None:
        """Turn the computer on to be paired: it will show a code, wait for the approval, and end."""
        self._spawn("pair")

    def read_code(self) -> tuple[str, int]:
        """Return the code and the number that the car shows. Raises CarError when it shows none in time."""
        codes: list[tuple[str, int]] = []

        def is_shown() -> bool:
            shown = (event for event in self._events() if event.get("event") == "pairing")
            codes.extend((event["user_code"], event["match_number"]) for event in shown)
            return bool(codes) or not self.is_running

        wait_until(is_shown, seconds=CODE_SECONDS)
        if not codes:
            raise CarError(f"{self} shows no code; its log is {self.log_path}.")
        return codes[-1]

    def wait_paired(self) -> None:
        """Return when the car has learned that it is paired. Raises CarError."""
        child = self._child
        ended = child is not None and wait_until(lambda: not child.is_running(), seconds=PAIRED_SECONDS)
        if child is None or not ended or child.process.returncode != 0:
            raise CarError(f"{self} was not paired; its log is {self.log_path}.")

    def start(self) -> None:
        """Turn the computer on to work."""
        self._spawn("run")

    def kill(self) -> None:
        """End the computer as a power cut would: kill -9, no farewell."""
        if self._child is not None:
            os.kill(self._child.pid, signal.SIGKILL)
            self._child.process.wait()
            kill_group(self._child.pid)

    def drive_off(self) -> None:
        """Leave the charger; the client notices at its next look."""
        self._away_path.touch()

    def come_back(self) -> None:
        """Plug in again."""
        self._away_path.unlink(missing_ok=True)

    def ask_to_stop(self) -> None:
        """Ask the client to end; it hands back what it holds."""
        if self._child is not None and self.is_running:
            self._child.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End the client, by force where it does not listen."""
        if self._child is not None:
            self._child.stop(grace_seconds=STOP_SECONDS)

    def row_in_hand(self) -> tuple[int, int] | None:
        """Return `(rows done, rows)` of the unit being computed; None between units, or when nobody knows."""
        try:
            status: dict[str, Any] = json.loads((self.folder / "state" / "status.json").read_bytes())
        except (OSError, ValueError):
            return None
        done, rows = status.get("rows_done"), status.get("rows")
        is_fresh = time.time() - float(status.get("at", 0.0)) < FRESH_SECONDS
        return (done, rows) if is_fresh and done and rows and done < rows else None

    def count_events(self, name: str) -> int:
        """Return how often the client has logged an event."""
        return sum(event.get("event") == name for event in self._events())

    def _spawn(self, command: str) -> None:
        self._child = spawn(
            str(self),
            [sys.executable, "-m", "fleetclient", command, "--config", str(self._config_path)],
            log_path=self.log_path,
            env={name: os.environ[name] for name in KEPT_ENV if name in os.environ},
        )

    def _events(self) -> list[dict[str, Any]]:
        """Return the JSON lines of the log; what is not JSON is meant for people."""
        events = []
        for line in self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []:
            if line.startswith("{"):
                try:
                    events.append(json.loads(line))
                except ValueError:
                    continue  # half a line: its writer was killed
        return events


def stop_all(cars: list[Car]) -> None:
    """End all clients, at the same time."""
    for car in cars:
        car.ask_to_stop()
    for car in cars:
        car.stop()


def _config_text(plan: CarPlan, *, origin: str, away_file: str) -> str:
    fault = 'fault = "wrong"\n' if plan.role == "cheat" else ""
    return f"""\
server = "{origin}"
state_dir = "state"
name = "{plan.name}"

[limits]
memory_bytes = {plan.memory_bytes}

[network]
bandwidth_mbit_per_s = 0

[vehicle]
start_delay_seconds = {plan.starts_after_seconds}
away_file = "{away_file}"

[simulation]
speed = {plan.speed}
{fault}"""
