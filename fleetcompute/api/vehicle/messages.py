"""A sync in wire form, both ways: the car's JSON into the engine's `SyncRequest`, the engine's answer into JSON.

Every field is checked before anything is used; a wrong one is named in the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fleetcompute.api.errors import Malformed
from workunits.pipeline.dispatch import Lease, SyncAnswer
from workunits.pipeline.report import OfferedCommitment, OfferedReturn, SyncRequest
from workunits.store.leases import Heartbeat

PROTOCOL = 1
ITEMS_MAX = 1_000
TEXT_CHARS_MAX = 120
SKETCH_BYTES = 256

RETURN_REASONS = frozenset(
    [
        "driving",
        "unplugged",
        "soc_low",
        "user_present",
        "too_hot",
        "paused_user",
        "shutting_down",
        "not_wanted",
        "data_cap",
        "updating",
        "signal_stale",
    ]
)
ERROR_REASONS = frozenset(
    [
        "model_load_failed",
        "run_failed",
        "out_of_memory",
        "timed_out",
        "input_digest_mismatch",
        "disk_full",
        "output_too_large",
    ]
)


def read_sync(content: Mapping[str, Any], attachments: memoryview, *, counter: int) -> SyncRequest:
    """Return the sync that a car's JSON and attachments describe. Raises Malformed."""
    if content.get("protocol") != PROTOCOL:
        raise Malformed(f"protocol must be {PROTOCOL}")
    agent, state = _object(content, "agent"), _object(content, "state")
    capacity = _object(content, "capacity")
    heartbeat = Heartbeat(
        counter=counter,
        eligible=_boolean(state, "state.eligible"),
        reasons=[_short(reason, "state.reasons") for reason in _items(state, "state.reasons")][:20],
        agent=f"{_text(agent, 'agent.version')} {_text(agent, 'agent.runtime')}"[:200],
        comparison_class=_text(agent, "agent.class"),
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


def write_answer(answer: SyncAnswer, *, now: datetime) -> dict[str, Any]:
    """Return the JSON of the engine's answer; contracts get short names that say nothing of the batch."""
    names = {batch_id: f"c{index}" for index, batch_id in enumerate(answer.contracts, start=1)}
    return {
        "protocol": PROTOCOL,
        "server_time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "next_sync_seconds": round(answer.next_sync_seconds, 3),
        "outcomes": [{"token": token, "code": code} for token, code in answer.outcomes],
        "cancelled": answer.cancelled,
        "contracts": {names[batch_id]: contract for batch_id, contract in answer.contracts.items()},
        "leases": [_lease(lease, names[lease.replica.ref.batch_id]) for lease in answer.leases],
        "messages": [],
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
