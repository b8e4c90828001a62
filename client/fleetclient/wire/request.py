"""The car's half of a sync: what it holds, what it has finished, what it hands back, and how much more it wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleetclient.wire.fields import Document
from fleetclient.wire.frame import encode_frame

RETURN_REASONS = (
    "driving", "unplugged", "soc_low", "user_present", "too_hot", "paused_user", "shutting_down",
    "not_wanted", "data_cap", "updating", "signal_stale",
)  # fmt: skip
ERROR_REASONS = (
    "model_load_failed", "run_failed", "out_of_memory", "timed_out", "input_digest_mismatch",
    "disk_full", "output_too_large",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentInfo:
    """Who computes: the client's version, its runtime, and the comparison class of its outputs."""

    version: str
    runtime: str
    comparison_class: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """How many more replicas the car wants now, and what its runner can take."""

    replicas: int
    memory_bytes: int
    opset_max: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Commitment:
    """A finished replica: the salted digest, the size, and the output itself when it is small."""

    token: str
    digest: str
    inline: bytes | None
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class HandBack:
    """A replica the car gives up: `returned` carries no blame, `error` says what failed."""

    token: str
    kind: Literal["returned", "error"]
    reason: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncRequest:
    """Everything one sync says."""

    agent: AgentInfo
    eligible: bool
    reasons: tuple[str, ...]
    capacity: Capacity
    models: tuple[str, ...]
    held: tuple[str, ...]
    commitments: tuple[Commitment, ...]
    returned: tuple[HandBack, ...]


def encode_sync_request(request: SyncRequest) -> bytes:
    """Return the frame of a sync, with the small outputs as attachments in the order of the commitments."""
    attachments: list[bytes] = []
    return encode_frame(_sync_document(request, attachments), attachments)


def _sync_document(request: SyncRequest, attachments: list[bytes]) -> Document:
    agent, capacity = request.agent, request.capacity
    return {
        "protocol": 1,
        "agent": {"version": agent.version, "runtime": agent.runtime, "class": agent.comparison_class},
        "state": {"eligible": request.eligible, "reasons": list(request.reasons)},
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


def _commitment_documents(commitments: tuple[Commitment, ...], attachments: list[bytes]) -> list[Document]:
    documents: list[Document] = []
    offset = 0
    for item in commitments:
        inline = None
        if item.inline is not None:
            inline = [offset, len(item.inline)]
            attachments.append(item.inline)
            offset += len(item.inline)
        documents.append(
            {"token": item.token, "digest": item.digest, "bytes": item.bytes, "inline": inline, "sketch": None,
             "seconds": round(item.seconds, 6)}
        )  # fmt: skip
    return documents
