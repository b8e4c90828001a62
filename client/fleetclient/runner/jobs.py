"""What the agent tells a runner, and what it hears back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetclient.runner.crashes import CrashReason, name_crash
from fleetclient.runner.options import SandboxOptions
from fleetclient.runner.pipes import MESSAGE_BYTES_MAX
from fleetclient.wire import ERROR_REASONS, Contract
from fleetclient.wire.contract import dump_contract, read_contract
from fleetclient.wire.frame import dump_json

# A runner's first message says more than the contract, and with names escaped it is up to three times as long.
CONTRACT_BYTES_MAX = MESSAGE_BYTES_MAX // 4


def fits_a_message(contract: Contract) -> bool:
    """Return whether a contract is short enough to be told to a runner: some hundred inputs and outputs are."""
    return len(dump_json(dump_contract(contract))) <= CONTRACT_BYTES_MAX


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerSettings:
    """Everything that holds for the life of one runner: one model, one contract, one set of limits.

    `model_path` stays with the agent, which passes the open file. `walls_off` names walls that tests leave away, and
    the low priority that an anchor does without; no configuration sets it.
    """

    model_path: Path
    contract: Contract
    memory_bytes: int
    speed: float = 1.0
    fault: str = "none"
    fault_seed: int = 0
    fault_rate: float = 1.0
    sandbox: SandboxOptions = field(default_factory=SandboxOptions)
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    walls_off: tuple[str, ...] = ()

    def to_message(self) -> dict[str, Any]:
        """Return the first message a runner reads."""
        return {
            "contract": dump_contract(self.contract),
            "memory_bytes": self.memory_bytes,
            "speed": self.speed,
            "fault": self.fault,
            "fault_seed": self.fault_seed,
            "fault_rate": self.fault_rate,
            "providers": self.providers,
            "walls_off": self.walls_off,
        }

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> RunnerSettings:
        """Return the settings in the first message."""
        known = {**message, "model_path": Path(), "contract": read_contract(message["contract"])}
        return cls(**known | {name: tuple(message[name]) for name in ("providers", "walls_off")})


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One unit to run: rows and salt from the lease; files by path, which stay with the agent.

    It opens the input, the partial output beside the output's place, and a new file for the whole output, and passes
    all three to the runner, which opens nothing.
    """

    token: str
    rows: int
    salt: str
    input_digest: str
    input_path: Path = Path()
    output_path: Path = Path()

    def to_message(self) -> dict[str, Any]:
        """Return the message of a job."""
        return {"token": self.token, "rows": self.rows, "salt": self.salt, "input_digest": self.input_digest}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerReady:
    """The model is loaded; `confinement` says which limits hold."""

    load_seconds: float
    confinement: dict[str, bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitStarted:
    """The runner took up a unit."""

    token: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitProgress:
    """So many rows are done and written to the partial output. Sent a few times a second at most."""

    token: str
    rows_done: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitDone:
    """The output is on disk under its final name. `cpu_seconds` counts earlier, interrupted runs of the unit too.

    `sketch`: in hexadecimal digits; empty where the output is small enough to travel whole.
    """

    token: str
    digest: str
    output_bytes: int
    cpu_seconds: float
    sketch: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitFailed:
    """The unit cannot be run; `reason` is one of the wire's error reasons."""

    token: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerFailed:
    """The model could not be loaded; the runner is about to end."""

    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerExited:
    """The process is gone. `returncode` is negative for a signal, as in subprocess."""

    returncode: int
    last_words: str

    @property
    def reason(self) -> CrashReason:
        """Why, as far as the way it ended tells."""
        return name_crash(self.returncode, self.last_words)


RunnerEvent = RunnerReady | UnitStarted | UnitProgress | UnitDone | UnitFailed | RunnerFailed | RunnerExited

_EVENTS: dict[str, type[Any]] = {
    "ready": RunnerReady,
    "started": UnitStarted,
    "progress": UnitProgress,
    "done": UnitDone,
    "failed": UnitFailed,
    "load_failed": RunnerFailed,
}
_NAMES = {kind: name for name, kind in _EVENTS.items()}


def event_message(event: RunnerEvent) -> dict[str, Any]:
    """Return the message of an event."""
    return {"event": _NAMES[type(event)], **{name: getattr(event, name) for name in event.__slots__}}


def read_event(message: dict[str, Any]) -> RunnerEvent:
    """Return the event in a message; raises KeyError, TypeError or ValueError when it is none.

    A model that took its runner over says what it likes, so every field is looked at: what comes out of here may be
    logged, stored and sent.
    """
    known = dict(message)
    kind = _EVENTS[known.pop("event")]
    for name, value in known.items():
        _CHECKS[name](value)
    event: RunnerEvent = kind(**known)
    return event


def _text(value: object) -> None:
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise TypeError("not a short text")
    value.encode()  # refuses halves of characters, which neither logs nor databases take
    if "\0" in value:
        raise ValueError("holds the character that no database takes")


def _digest(value: object) -> None:
    _text(value)
    if len(bytes.fromhex(str(value))) != DIGEST_BYTES:
        raise ValueError("not a digest")


def _sketch(value: object) -> None:
    _text(value)
    if len(bytes.fromhex(str(value))) not in (0, SKETCH_BYTES):
        raise ValueError("not a sketch")


def _reason(value: object) -> None:
    if value not in ERROR_REASONS:
        raise ValueError("not a reason")


def _whole(value: object) -> None:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise TypeError("not a whole number")


def _seconds(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < SECONDS_MAX:
        raise TypeError("not a number of seconds")


def _walls(value: object) -> None:
    if not isinstance(value, dict) or not all(type(holds) is bool for holds in value.values()):
        raise TypeError("not a list of walls")
    if len(value) > WALLS_MAX or not all(name.isidentifier() and len(name) <= WALL_CHARS_MAX for name in value):
        raise ValueError("not names of walls")


TEXT_CHARS_MAX = 1000
DIGEST_BYTES = 32
SKETCH_BYTES = 256
NUMBER_MAX = 2**53
# What the server takes: one number or name beyond it would have every later report of this car refused.
SECONDS_MAX = 1e9
WALLS_MAX = 32
WALL_CHARS_MAX = 40
_CHECKS: dict[str, Callable[[object], None]] = {
    "token": _text,
    "detail": _text,
    "reason": _reason,
    "digest": _digest,
    "rows_done": _whole,
    "output_bytes": _whole,
    "cpu_seconds": _seconds,
    "sketch": _sketch,
    "load_seconds": _seconds,
    "confinement": _walls,
}
