"""The server's half of a sync: outcomes of what was reported, new leases, and the pace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fleetclient.wire.contract import Contract, read_contract
from fleetclient.wire.fields import (
    Document,
    MalformedMessage,
    as_document,
    hex_text,
    items,
    number,
    text,
    token_text,
    whole,
)
from fleetclient.wire.frame import decode_frame

NEXT_SYNC_SECONDS_MAX = 24 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one commitment or hand-back: `stored`, `upload`, `returned`, or an error code."""

    token: str
    code: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """One replica to run. The input is the half-open byte range of a blob; `input_digest` is of those bytes."""

    token: str
    contract: Contract
    salt: str
    rows: int
    input_sha256: str
    input_range: tuple[int, int]
    input_digest: str
    deadline_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Something for the owner or the log."""

    level: str
    code: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncAnswer:
    """Everything one answer says.

    `vehicle`: the car it is meant for. `rules`: the server's own rules for this car, which can only tighten the
    owner's; None when it has none. `server_time`: Unix seconds, None from a server that does not say.
    """

    vehicle: str
    rules: Document | None
    server_time: float | None
    next_sync_seconds: float
    outcomes: tuple[Outcome, ...]
    cancelled: tuple[str, ...]
    leases: tuple[Lease, ...]
    messages: tuple[Message, ...]


def decode_sync_answer(frame: bytes) -> SyncAnswer:
    """Return the answer in a frame whose signature was checked; raises MalformedMessage."""
    document, _ = decode_frame(frame)
    if document.get("protocol") != 1:
        raise MalformedMessage("protocol is not 1")
    contracts = {key: read_contract(value) for key, value in _contracts(document).items()}
    rules = document.get("rules")
    return SyncAnswer(
        vehicle=text(document, "vehicle"),
        rules=None if rules is None else as_document(rules, "rules"),
        server_time=_read_time(document.get("server_time")),
        next_sync_seconds=number(document, "next_sync_seconds", high=NEXT_SYNC_SECONDS_MAX),
        outcomes=items(document, "outcomes", _read_outcome),
        cancelled=items(document, "cancelled", lambda value: token_text(value, "cancelled")),
        leases=items(document, "leases", lambda value: read_lease(value, contracts)),
        messages=items(document, "messages", _read_message),
    )


def read_lease(value: object, contracts: dict[str, Contract]) -> Lease:
    """Return one lease with its contract looked up by the key it names."""
    document = as_document(value, "lease")
    source = as_document(document.get("input"), "input")
    key = text(document, "contract")
    if key not in contracts:
        raise MalformedMessage(f"contract {key!r} is not in the answer")
    return Lease(
        token=token_text(document.get("token"), "token"),
        contract=contracts[key],
        salt=hex_text(document, "salt", 32),
        rows=whole(document, "rows", low=1),
        input_sha256=hex_text(source, "sha256", 64),
        input_range=_read_range(source),
        input_digest=hex_text(source, "digest", 64),
        deadline_seconds=number(document, "deadline_seconds"),
    )


def dump_lease(lease: Lease) -> Document:
    """Return the document that `read_lease` reads; the contract goes by the key `contract`."""
    return {
        "token": lease.token,
        "contract": "contract",
        "salt": lease.salt,
        "rows": lease.rows,
        "input": {"sha256": lease.input_sha256, "range": list(lease.input_range), "digest": lease.input_digest},
        "deadline_seconds": lease.deadline_seconds,
    }


def _read_time(value: object) -> float | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise MalformedMessage("server_time is not a time") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _contracts(document: Document) -> Document:
    return as_document(document.get("contracts"), "contracts")


def _read_range(source: Document) -> tuple[int, int]:
    match items(source, "range", lambda value: whole({"range": value}, "range")):
        case (start, end) if start < end:
            return start, end
    raise MalformedMessage("range is not [start, end)")


def _read_outcome(value: Any) -> Outcome:
    document = as_document(value, "outcome")
    return Outcome(token=token_text(document.get("token"), "token"), code=text(document, "code"))


def _read_message(value: Any) -> Message:
    document = as_document(value, "message")
    return Message(level=text(document, "level"), code=text(document, "code"), text=text(document, "text"))
