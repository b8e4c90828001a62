"""A simulated car: the wire as a real one speaks it, with a behaviour in place of a model runtime.

It carries a few units at a time, reports when they are done, uploads what it is asked for, and keeps what the server
may still ask for, as the client does.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import load, save

from bench.dispatch.http import Answer, KeptConnection
from bench.trust.http.behaviours import Experience, Honest, Work
from bench.trust.http.clock import VirtualClock
from bench.trust.http.truth import OUTPUT, Rows
from fleetclient.runner.sketch import SketchedTensor, sketch_kind, sketch_tensors
from fleetclient.signing import AnswerVerifier, RequestSigner
from fleetclient.wire import BLOBS_PATH, FRAME_CONTENT_TYPE, OUTPUTS_PATH, SYNC_PATH, encode_frame_json

_FRAME_HEAD_BYTES: Final = 8
_SIGNATURES_CHECKED_EVERY: Final = 20
# Somebody else's result was believed meanwhile. A real car hears of it within a minute; one here when it is done.
_TOO_LATE: Final = ("lease_expired", "replica_ended")
_UPLOAD_TYPE: Final = "application/offset+octet-stream"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A result that the server has not taken for good. `output` is what the car would upload."""

    token: str
    commitment: bytes
    output: bytes
    sketch: bytes | None
    is_inline: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """A result as the car first reported it, for the books of the benchmark."""

    token: str
    inputs: Rows
    outputs: Rows | None  # None: a forged commitment


@dataclass(kw_only=True, slots=True)
class Depot:
    """What all cars of a run share: the connection, the clock, and shards, which each would otherwise download."""

    connection: KeptConnection
    authority: str
    clock: VirtualClock
    verifier: AnswerVerifier
    shards: dict[str, bytes] = field(default_factory=dict)
    tally: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def complain(self, problem: str) -> None:
        """Note what should not have happened."""
        self.tally["problems"] += 1
        if len(self.problems) < 10:
            self.problems.append(problem)


class Car:
    """One vehicle. `address` is where it calls from, as the proxy in front of the server would say."""

    def __init__(
        self,
        *,
        depot: Depot,
        vehicle_id: str,
        key: Ed25519PrivateKey,
        behaviour: Honest,
        address: str,
        on_report: Callable[[Reported], None],
    ) -> None:
        self.depot, self.behaviour, self.known = depot, behaviour, Experience()
        self._signer = RequestSigner(private_key=key, key_id=vehicle_id, authority=depot.authority)
        self._address, self._on_report = address, on_report
        self._counter = 0
        self._leases: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._unwanted: list[str] = []
        self._kept: dict[str, Finished] = {}
        self.messages: set[str] = set()

    def visit(self, *, wanted: int) -> tuple[int, float]:
        """Report all that is done and ask for more; return how many units it carries away, and when to call again."""
        finished = [*self._kept.values(), *(self._finish(*lease) for lease in self._leases)]
        self._leases = []
        answer, signature = self._post(self._sync_body(finished, self.behaviour.asks(wanted)))
        if answer.status != 200:
            self.depot.complain(f"sync: {answer.status} {answer.body[:200]!r}")
            self._kept = {item.token: item for item in finished}
            return 0, 60.0
        if self._counter % _SIGNATURES_CHECKED_EVERY == 0:
            self.depot.verifier.verify(
                status=200, headers=answer.headers, body=answer.body, request_signature=signature
            )
        document = orjson.loads(answer.body[_FRAME_HEAD_BYTES:])
        self._take_outcomes(document, {item.token: item for item in finished})
        self.messages |= {message["code"] for message in document["messages"]}
        contracts = document["contracts"]
        self._leases, self._unwanted = [], []
        for lease in document["leases"]:
            if self.behaviour.keeps(bytes.fromhex(lease["input"]["digest"])):
                self._leases.append((lease, contracts[lease["contract"]]))
            else:
                self._unwanted.append(lease["token"])
        self.depot.tally["leased"] += len(document["leases"])
        return len(self._leases), float(document["next_sync_seconds"])

    @property
    def is_waiting(self) -> bool:
        """Whether the car keeps results whose bytes may still be asked for."""
        return bool(self._kept)

    def _take_outcomes(self, document: dict[str, Any], finished: dict[str, Finished]) -> None:
        self._kept = {}
        for outcome in document["outcomes"]:
            code, item = outcome["code"], finished.get(outcome["token"])
            self.depot.tally[code] += 1
            if item is None:
                continue  # handed back
            if code == "stored":
                self.known.stored += 1
            elif code == "keep":
                self._kept[item.token] = item
            elif code == "upload":
                self._upload(item)
            elif not self.behaviour.is_adversary and code not in _TOO_LATE:
                self.depot.complain(f"an honest result was answered {code}")

    def _finish(self, lease: dict[str, Any], contract: dict[str, Any]) -> Finished:
        start, end = lease["input"]["range"]
        document = self._read_shard(lease["input"]["sha256"])[start:end]
        digest, salt = bytes.fromhex(lease["input"]["digest"]), bytes.fromhex(lease["salt"])
        if hashlib.sha256(document).digest() != digest:
            self.depot.complain("an input is not the one that was announced")
        work = Work(inputs=load(document)["x"], digest=digest, salt=salt)
        outputs, forged = self.behaviour.compute(work, self.known), self.behaviour.forges(work, self.known)
        output = save({OUTPUT["name"]: outputs})
        is_inline = forged is None and len(output) <= contract["limits"]["inline_bytes_max"]
        (told,) = contract["outputs"]
        sketched = SketchedTensor(sketch_kind(told["comparator"], told["dtype"]), outputs, told.get("axis", -1))
        self._on_report(Reported(token=lease["token"], inputs=work.inputs, outputs=outputs if forged is None else None))
        return Finished(
            token=lease["token"],
            commitment=forged or hashlib.sha256(salt + output).digest(),
            output=output,
            sketch=None if is_inline else sketch_tensors([sketched], salt),
            is_inline=is_inline,
        )

    def _read_shard(self, sha256: str) -> bytes:
        if sha256 not in self.depot.shards:
            answer, _ = self._exchange("GET", BLOBS_PATH + sha256)
            if answer.status != 200:
                raise OSError(f"shard {sha256}: {answer.status} {answer.body[:200]!r}")
            self.depot.shards[sha256] = answer.body
        return self.depot.shards[sha256]

    def _upload(self, item: Finished) -> None:
        answer, _ = self._exchange(
            "PATCH", OUTPUTS_PATH + item.token, item.output, {"Upload-Offset": "0", "Content-Type": _UPLOAD_TYPE}
        )
        self.depot.tally[f"upload_{answer.status}"] += 1
        if answer.status == 204:
            self.known.stored += 1
        elif not self.behaviour.is_adversary:
            self.depot.complain(f"upload: {answer.status} {answer.body[:200]!r}")

    def _sync_body(self, finished: list[Finished], wanted: int) -> bytes:
        commitments, attachments, offset = [], [], 0
        for item in finished:
            entry: dict[str, Any] = {
                "token": item.token,
                "digest": item.commitment.hex(),
                "bytes": len(item.output),
                "inline": None,
                "sketch": None,
                "seconds": 60.0,
            }
            attachment = item.output if item.is_inline else item.sketch or b""
            entry["inline" if item.is_inline else "sketch"] = [offset, len(attachment)]
            offset += len(attachment)
            attachments.append(attachment)
            commitments.append(entry)
        document = {
            "protocol": 1,
            "agent": {
                "version": "0.1.0",
                "runtime": "onnxruntime/1.32.0",
                "class": self.behaviour.comparison_class,
            },
            "state": {"eligible": True, "reasons": []},
            "capacity": {"replicas": wanted, "memory_bytes": 2**31, "opset_max": 23},
            "models": [],
            "held": [],
            "commitments": commitments,
            "returned": [{"token": token, "kind": "returned", "reason": "not_wanted"} for token in self._unwanted],
        }
        return encode_frame_json(orjson.dumps(document), attachments)

    def _post(self, body: bytes) -> tuple[Answer, str]:
        return self._exchange("POST", SYNC_PATH, body, {"Content-Type": FRAME_CONTENT_TYPE})

    def _exchange(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[Answer, str]:
        self._counter += 1
        signed = self._signer.sign(method, path, body, created=int(self.depot.clock.unix()), counter=self._counter)
        named = {"Host": self.depot.authority, "X-Real-IP": self._address, **(headers or {}), **signed.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        head = f"{method} {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        self.depot.tally["requests"] += 1
        return self.depot.connection.exchange(head.encode("ascii") + body), signed.signature
