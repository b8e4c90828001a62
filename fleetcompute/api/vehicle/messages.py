"""A sync in wire form, both ways: the car's JSON into the engine's `SyncRequest`, the engine's answer into JSON.

Every field is checked before anything is used; a wrong one is named in the error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from fleetcompute.api.errors import Malformed
from workunits.domain.audits.standing import Standing
from workunits.domain.calibration import SAME_CLASS
from workunits.pipeline.dispatch import Lease, SyncAnswer
from workunits.pipeline.identity import SaidOfItself
from workunits.pipeline.report import OfferedCommitment, OfferedReturn, SyncRequest
from workunits.store.leases import Heartbeat

PROTOCOL = 1
ITEMS_MAX = 1_000
TEXT_CHARS_MAX = 120
SKETCH_BYTES = 256
REASONS_MAX = 20
REASON_CHARS_MAX = 40
WALLS_MAX = 20
WALL_CHARS_MAX = 40
# A machine whose clock was never set says 1970.
CLOCK_SKEW_SECONDS_MAX = 1e10
_MARK = re.compile(r"[0-9a-f]{32}")

# `unplugged` is what the first version of the client says for `not_plugged_in`.
RETURN_REASONS = frozenset(
    {
        "driving", "unplugged", "not_plugged_in", "not_parked", "soc_low", "charging_first", "user_present",
        "not_home_wifi", "outside_hours", "price_high", "net_below_floor", "too_hot", "too_cold", "data_cap",
        "hours_cap", "updating", "signal_stale", "paused_user", "suspended_ops", "unconfined", "finishing",
        "shutting_down", "not_wanted", "not_admitted",
    }
)  # fmt: skip
ERROR_REASONS = frozenset(
    {
        "model_load_failed", "run_failed", "out_of_memory", "timed_out", "input_digest_mismatch", "disk_full",
        "output_too_large", "model_refused", "not_admitted", "unconfined",
    }
)  # fmt: skip


class OwnerMessage(NamedTuple):
    """Something for the owner: `level` is info, warning or error; `code` is for programs, `text` for people."""

    level: str
    code: str
    text: str


CLONE_MESSAGE = OwnerMessage(
    "warning",
    "clone_suspected",
    "Two computers use this car's key in turn, so it gets no work. Stop the copy, or renew the key on this car, which"
    " shuts it out; then say in the portal that this car is the only one.",
)

STANDING_MESSAGES: Final[dict[Standing, OwnerMessage]] = {
    Standing.WATCHED: OwnerMessage(
        "warning",
        "watched",
        "Results of this car were wrong when they were run again. For now all of its results are checked, so that its"
        " credits become available later than usual. The portal says more.",
    ),
    Standing.QUARANTINED: OwnerMessage(
        "error",
        "quarantined",
        "This car is held back and gets no work. The portal says why and what it means for the credits, and takes an"
        " appeal.",
    ),
}


def list_messages(standing: Standing, *, is_suspected: bool) -> list[OwnerMessage]:
    """Return what the owner is told with this answer."""
    said = [CLONE_MESSAGE] if is_suspected else []
    return [*said, STANDING_MESSAGES[standing]] if standing in STANDING_MESSAGES else said


def read_sync(content: Mapping[str, Any], attachments: memoryview, *, counter: int) -> SyncRequest:
    """Return the sync that a car's JSON and attachments describe. Raises Malformed."""
    if content.get("protocol") != PROTOCOL:
        raise Malformed(f"protocol must be {PROTOCOL}")
    agent, state = _object(content, "agent"), _object(content, "state")
    capacity = _object(content, "capacity")
    heartbeat = Heartbeat(
        counter=counter,
        eligible=_boolean(state, "state.eligible"),
        reasons=[
            _short(reason, "state.reasons")[:REASON_CHARS_MAX]
            for reason in _items(state, "state.reasons")[:REASONS_MAX]
        ],
        agent=f"{_text(agent, 'agent.version')} {_text(agent, 'agent.runtime')}"[:200],
        comparison_class=_class_name(agent),
        memory_bytes=_integer(capacity, "capacity.memory_bytes", 2**60),
        opset_max=_integer(capacity, "capacity.opset_max", 1_000),
    )
    return SyncRequest(
        heartbeat=heartbeat,
        wanted=_integer(capacity, "capacity.replicas", 10_000),
        cached_models=frozenset(_short(item, "models") for item in _items(content, "models")),
        held=[_short(token, "held") for token in _items(content, "held")],
        commitments=[_commitment(item, attachments) for item in _items(content, "commitments")],
        returned=[_hand_back(item) for item in _items(content, "returned")],
    )


def read_self(content: Mapping[str, Any]) -> SaidOfItself:
    """Return what a car says of its installation, process, sandbox and clock; older clients say nothing.

    Raises Malformed.
    """
    agent, state = _object(content, "agent"), _object(content, "state")
    walls = None
    if agent.get("walls") is not None:
        walls = tuple(_short(wall, "agent.walls")[:WALL_CHARS_MAX] for wall in _items(agent, "agent.walls"))
    return SaidOfItself(
        instance=_mark(agent, "agent.instance"),
        boot=_mark(agent, "agent.boot"),
        walls=None if walls is None else walls[:WALLS_MAX],
        clock_skew_seconds=_skew(state),
    )


def _class_name(agent: Mapping[str, Any]) -> str:
    """Return the comparison class; never a name under which weights or tolerances of all classes are kept."""
    name = _text(agent, "agent.class")
    if name in ("", SAME_CLASS):
        raise Malformed("agent.class must name a comparison class")
    return name


def _mark(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name.rpartition(".")[2])
    if value is None:
        return ""
    if not isinstance(value, str) or not _MARK.fullmatch(value):
        raise Malformed(f"{name} must be 32 lower-case hexadecimal digits")
    return value


def _skew(state: Mapping[str, Any]) -> float | None:
    value = state.get("clock_skew_seconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= CLOCK_SKEW_SECONDS_MAX:
        raise Malformed("state.clock_skew_seconds must be a number of seconds")
    return float(value)


def _commitment(item: Any, attachments: memoryview) -> OfferedCommitment:
    if not isinstance(item, dict):
        raise Malformed("commitments must hold objects")
    try:
        digest = bytes.fromhex(_text(item, "commitments.digest"))
    except ValueError:
        raise Malformed("commitments.digest must be 64 hex digits") from None
    if len(digest) != 32:
        raise Malformed("commitments.digest must be 64 hex digits")
    output = _attachment(item, "inline", attachments)
    sketch = _attachment(item, "sketch", attachments)
    output_bytes = _integer(item, "commitments.bytes", 2**40)
    if output is not None and len(output) != output_bytes:
        raise Malformed(f"commitments.inline has {len(output)} bytes, commitments.bytes says {output_bytes}")
    if sketch is not None and len(sketch) != SKETCH_BYTES:
        raise Malformed(f"commitments.sketch must have {SKETCH_BYTES} bytes")
    seconds = item.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        raise Malformed("commitments.seconds must be a number, 0 or more")
    return OfferedCommitment(
        token=_text(item, "commitments.token"),
        digest=digest,
        output_bytes=output_bytes,
        output=output,
        sketch=sketch,
        seconds=round(float(seconds), 3),  # the column is narrower, and a tinier number would overflow it
    )


def _attachment(item: Mapping[str, Any], name: str, attachments: memoryview) -> bytes | None:
    place = item.get(name)
    if place is None:
        return None
    is_pair = isinstance(place, list) and len(place) == 2 and all(type(part) is int and part >= 0 for part in place)
    if not is_pair or sum(place) > len(attachments):
        raise Malformed(f"commitments.{name} must be [offset, length] within the attachments")
    return bytes(attachments[place[0] : place[0] + place[1]])


def _hand_back(item: Any) -> OfferedReturn:
    if not isinstance(item, dict):
        raise Malformed("returned must hold objects")
    kind, reason = _text(item, "returned.kind"), _text(item, "returned.reason")
    known = {"returned": RETURN_REASONS, "error": ERROR_REASONS}.get(kind)
    if known is None:
        raise Malformed("returned.kind must be 'returned' or 'error'")
    if reason not in known:
        raise Malformed(f"returned.reason {reason!r} is not a known reason for {kind!r}")
    return OfferedReturn(token=_text(item, "returned.token"), is_error=kind == "error", reason=reason)


def write_answer(
    answer: SyncAnswer,
    *,
    now: datetime,
    vehicle: str,
    rules: Mapping[str, Any] | None = None,
    messages: Sequence[OwnerMessage] = (),
) -> dict[str, Any]:
    """Return the JSON of the engine's answer to a vehicle (its public id).

    It names the car, so that with the leases' tokens and the contracts' model hashes it is an assignment that the
    director signs as a whole. Contracts get short names that say nothing of the batch.
    """
    names = {batch_id: f"c{index}" for index, batch_id in enumerate(answer.contracts, start=1)}
    return {
        "protocol": PROTOCOL,
        "vehicle": vehicle,
        "server_time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "next_sync_seconds": round(answer.next_sync_seconds, 3),
        "outcomes": [{"token": token, "code": code} for token, code in answer.outcomes],
        "cancelled": answer.cancelled,
        "contracts": {names[batch_id]: contract for batch_id, contract in answer.contracts.items()},
        "leases": [_lease(lease, names[lease.replica.ref.batch_id]) for lease in answer.leases],
        "messages": [message._asdict() for message in messages],
        "rules": rules,
    }


def _lease(lease: Lease, contract: str) -> dict[str, Any]:
    replica = lease.replica
    return {
        "token": lease.token,
        "contract": contract,
        "salt": lease.salt.hex(),
        "rows": replica.rows,
        "input": {
            "sha256": replica.shard_sha256,
            "range": [replica.byte_start, replica.byte_end],
            "digest": replica.input_digest.hex(),
        },
        "deadline_seconds": round(lease.deadline_seconds, 1),
    }


def _object(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    if not isinstance(value, dict):
        raise Malformed(f"{name} must be an object")
    return value


def _items(content: Mapping[str, Any], name: str) -> list[Any]:
    value = content.get(name.rpartition(".")[2])
    if not isinstance(value, list) or len(value) > ITEMS_MAX:
        raise Malformed(f"{name} must be a list of at most {ITEMS_MAX}")
    return value


def _short(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX or "\0" in value:
        raise Malformed(f"{name} must be text of at most {TEXT_CHARS_MAX} characters")
    return value


def _text(content: Mapping[str, Any], name: str) -> str:
    return _short(content.get(name.rpartition(".")[2]), name)


def _boolean(content: Mapping[str, Any], name: str) -> bool:
    value = content.get(name.rpartition(".")[2])
    if not isinstance(value, bool):
        raise Malformed(f"{name} must be true or false")
    return value


def _integer(content: Mapping[str, Any], name: str, limit: int) -> int:
    value = content.get(name.rpartition(".")[2])
    if type(value) is not int or not 0 <= value <= limit:
        raise Malformed(f"{name} must be a whole number from 0 to {limit}")
    return value
