"""The car's half of a sync: what it holds, what it has finished, what it hands back, and how much more it wants."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Literal

from fleetclient.wire.fields import Document
from fleetclient.wire.frame import encode_frame

# Why a car hands work back without blame; also the reason codes of `state.reasons`. `unplugged` is what the first
# version said for `not_plugged_in`.
RETURN_REASONS = (
    "driving", "unplugged", "not_plugged_in", "not_parked", "soc_low", "charging_first", "user_present",
    "not_home_wifi", "outside_hours", "price_high", "net_below_floor", "too_hot", "too_cold", "data_cap", "hours_cap",
    "updating", "signal_stale", "paused_user", "suspended_ops", "unconfined", "finishing", "shutting_down",
    "not_wanted", "not_admitted",
)  # fmt: skip
ERROR_REASONS = (
    "model_load_failed", "run_failed", "out_of_memory", "timed_out", "input_digest_mismatch",
    "disk_full", "output_too_large", "model_refused", "not_admitted", "unconfined",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentInfo:
    """Who computes: the client's version, its runtime, and the comparison class of its outputs.

    `instance` and `boot` are hashes (32 hexadecimal digits) of this installation and of this process, by which the
    server notices one key in two cars; empty where nobody asks. `walls`: the walls of the runner's confinement that
    hold, None when not known.
    """

    version: str
    runtime: str
    comparison_class: str
    instance: str = ""
    boot: str = ""
    walls: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """How many more replicas the car wants now, and what its runner can take."""

    replicas: int
    memory_bytes: int
    opset_max: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Commitment:
    """A finished replica: the salted digest, the size, and the output itself when it is small, else its sketch."""

    token: str
    digest: str
    inline: bytes | None
    bytes: int
    seconds: float
    sketch: builtins.bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HandBack:
    """A replica the car gives up: `returned` carries no blame, `error` says what failed."""

    token: str
    kind: Literal["returned", "error"]
    reason: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncRequest:
    """Everything one sync says. `clock_skew_seconds`: the server's clock less this machine's, None before the first
    answer.
    """

    agent: AgentInfo
    eligible: bool
    reasons: tuple[str, ...]
    capacity: Capacity
    models: tuple[str, ...]
    held: tuple[str, ...]
    commitments: tuple[Commitment, ...]
    returned: tuple[HandBack, ...]
    clock_skew_seconds: float | None = None


def encode_sync_request(request: SyncRequest) -> bytes:
    """Return the frame of a sync, with the small outputs as attachments in the order of the commitments."""
    attachments: list[bytes] = []
    return encode_frame(_sync_document(request, attachments), attachments)


def _sync_document(request: SyncRequest, attachments: list[bytes]) -> Document:
    capacity = request.capacity
    return {
        "protocol": 1,
        "agent": _agent_document(request.agent),
        "state": _state_document(request),
        "capacity": {
            "replicas": capacity.replicas,
            "memory_bytes": capacity.memory_bytes,
            "opset_max": capacity.opset_max,
        },
        "models": list(request.models),
        "held": list(request.held),
        "commitments": _commitment_documents(request.commitments, attachments),
        "returned": [
            {"token": item.token, "kind": item.kind, "reason": item.reason, "detail": item.detail}
            for item in request.returned
        ],
    }


def _agent_document(agent: AgentInfo) -> Document:
    """Members that are not known are left out, as in the messages of the first version."""
    document: Document = {"version": agent.version, "runtime": agent.runtime, "class": agent.comparison_class}
    if agent.instance:
        document["instance"] = agent.instance
    if agent.boot:
        document["boot"] = agent.boot
    if agent.walls is not None:
        document["walls"] = list(agent.walls)
    return document


def _state_document(request: SyncRequest) -> Document:
    document: Document = {"eligible": request.eligible, "reasons": list(request.reasons)}
    if request.clock_skew_seconds is not None:
        document["clock_skew_seconds"] = round(request.clock_skew_seconds, 1)
    return document


def _commitment_documents(commitments: tuple[Commitment, ...], attachments: list[bytes]) -> list[Document]:
    documents: list[Document] = []
    offset = 0

    def attach(content: bytes | None) -> list[int] | None:
        nonlocal offset
        if content is None:
            return None
        attachments.append(content)
        offset += len(content)
        return [offset - len(content), len(content)]

    for item in commitments:
        inline, sketch = attach(item.inline), attach(item.sketch)
        documents.append(
            {"token": item.token, "digest": item.digest, "bytes": item.bytes, "inline": inline, "sketch": sketch,
             "seconds": round(item.seconds, 6)}
        )  # fmt: skip
    return documents
