"""A simulated car: computes nothing, and otherwise does what a real one does, signatures included.

An output is made from its input's digest, so that all cars agree on it to the last bit.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.dispatch.http import Answer
from bench.dispatch.options import ANSWERS_PER_CHECK
from bench.dispatch.plan import CarPlan, FleetPlan
from fleetclient.signing import AnswerVerifier, RequestSigner
from fleetclient.wire import FRAME_CONTENT_TYPE, SYNC_PATH, encode_frame_json

_AGENT = {"version": "0.1.0", "runtime": "onnxruntime/1.32.0", "class": "cpu-fp32-ort1.32-avx2"}
_STATE = {"eligible": True, "reasons": []}
_MEMORY_BYTES = 2 * 2**30
_OPSET_MAX = 23
_FRAME_HEAD_BYTES = 8


class SimulatedCar:
    """One car of the load generator. `tally` counts what the server told it; `problems` keeps what went wrong."""

    def __init__(self, plan: CarPlan, fleet: FleetPlan, *, authority: str) -> None:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(plan.seed))
        self._signer = RequestSigner(private_key=key, key_id=plan.vehicle_id, authority=authority)
        self._verifier = AnswerVerifier(bytes.fromhex(fleet.director_key))
        self._header = bytes.fromhex(fleet.output_header)
        self._output_bytes = fleet.output_bytes
        self._models = [fleet.model_sha256]
        self._start = f"POST {SYNC_PATH} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {FRAME_CONTENT_TYPE}\r\n"
        self._counter = 0
        self._signature = ""
        self._leases: list[dict[str, object]] = []
        self.tally: Counter[str] = Counter()
        self.problems: list[str] = []

    def request(self, *, wanted: int) -> bytes:
        """Return the request of the next sync: all that is held is reported, `wanted` more are asked for."""
        commitments, outputs = self._commitments()
        document = {
            "protocol": 1,
            "agent": _AGENT,
            "state": _STATE,
            "capacity": {"replicas": wanted, "memory_bytes": _MEMORY_BYTES, "opset_max": _OPSET_MAX},
            "models": self._models,
            "held": [],
            "commitments": commitments,
            "returned": [],
        }
        body = encode_frame_json(orjson.dumps(document), outputs)
        self._counter += 1
        signed = self._signer.sign("POST", SYNC_PATH, body, created=int(time.time()), counter=self._counter)
        self._signature = signed.signature
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items())
        return f"{self._start}Content-Length: {len(body)}\r\n{lines}\r\n".encode("ascii") + body

    def take(self, answer: Answer) -> None:
        """Note what the server answered; what it leased is reported by the next request."""
        self.tally["syncs"] += 1
        if answer.status != 200:
            self._complain(f"status {answer.status}: {answer.body[:200]!r}")
            return
        if self._counter % ANSWERS_PER_CHECK == 0:
            self._verifier.verify(
                status=200, headers=answer.headers, body=answer.body, request_signature=self._signature
            )
            self.tally["signatures_checked"] += 1
        document = orjson.loads(answer.body[_FRAME_HEAD_BYTES:])
        for outcome in document["outcomes"]:
            if outcome["code"] == "stored":
                self.tally["stored"] += 1
            else:
                self._complain(f"outcome {outcome['code']}")
        self._leases = document["leases"]
        self.tally["leased"] += len(self._leases)

    def _commitments(self) -> tuple[list[dict[str, object]], list[bytes]]:
        commitments: list[dict[str, object]] = []
        outputs: list[bytes] = []
        size = self._output_bytes
        for index, lease in enumerate(self._leases):
            source = lease["input"]["digest"]  # type: ignore[index]  # a JSON document
            output = (self._header + bytes.fromhex(source) * (size // 32 + 1))[:size]
            digest = hashlib.sha256(bytes.fromhex(lease["salt"]) + output).hexdigest()  # type: ignore[arg-type]
            commitments.append(
                {"token": lease["token"], "digest": digest, "bytes": size, "inline": [index * size, size],
                 "sketch": None, "seconds": 1.0}
            )  # fmt: skip
            outputs.append(output)
        return commitments, outputs

    def _complain(self, problem: str) -> None:
        self.tally["problems"] += 1
        if len(self.problems) < 5:
            self.problems.append(problem)
