"""A car that speaks the real wire to the real views: frames, signatures, headers."""

from __future__ import annotations

import hashlib
import json
import struct
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.test import Client

from fleetclient.signing import AnswerVerifier, RequestSigner
from fleetcompute.api.vehicle.signing import get_director
from workunits.models import Owner, Vehicle, VehiclePresence

AUTHORITY = "testserver"
BASE = "/api/vehicle/v1"


def frame(content: Any, attachments: bytes = b"") -> bytes:
    encoded = json.dumps(content).encode()
    return b"FLT1" + struct.pack(">I", len(encoded)) + encoded + attachments


def unframe(body: bytes) -> Any:
    (length,) = struct.unpack(">I", body[4:8])
    return json.loads(body[8 : 8 + length])


def idle_sync(**changes: Any) -> dict[str, Any]:
    return {
        "protocol": 1,
        "agent": {"version": "0.1.0", "runtime": "onnxruntime/1.32.0", "class": "cpu"},
        "state": {"eligible": True, "reasons": []},
        "capacity": {"replicas": 0, "memory_bytes": 10_000, "opset_max": 23},
        "models": [],
        "held": [],
        "commitments": [],
        "returned": [],
        **changes,
    }


class SignedCar:
    """A paired car. `post` and friends take headers that replace its own, to send what an honest car would not."""

    def __init__(self, owner: Owner, seed: str = "car") -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
        self.vehicle = Vehicle.objects.create(
            owner=owner, name=seed, public_key=self.key.public_key().public_bytes_raw()
        )
        VehiclePresence.objects.create(vehicle=self.vehicle)
        self.signer = RequestSigner(private_key=self.key, key_id=self.vehicle.public_id, authority=AUTHORITY)
        self.counter = 0
        self.http = Client(SERVER_NAME=AUTHORITY)

    def request(self, method: str, path: str, body: bytes = b"", *, content_type: str = "", **headers: str) -> Any:
        self.counter += 1
        signed = self.signer.sign(method, f"{BASE}/{path}", body, created=int(time.time()), counter=self.counter)
        self.last_signature = signed.signature
        return self.http.generic(
            method,
            f"{BASE}/{path}",
            body,
            content_type=content_type or "application/octet-stream",
            headers={**signed.headers, "Host": AUTHORITY, **{k.replace("_", "-"): v for k, v in headers.items()}},
        )

    def sync(self, content: Any = None, attachments: bytes = b"", **headers: str) -> Any:
        content = idle_sync() if content is None else content
        body = content if isinstance(content, bytes) else frame(content, attachments)
        return self.request("POST", "sync", body, content_type="application/vnd.fleetcompute.frame", **headers)

    def verified(self, response: Any) -> Any:
        """Return the answer's content after checking the director's signature, as a real car would."""
        assert response.status_code == 200, response.content
        AnswerVerifier(get_director(settings.FLEET_DIRECTOR_KEY).public_key).verify(
            status=200, headers=response.headers, body=response.content, request_signature=self.last_signature
        )
        return unframe(response.content)

    def lease(self, count: int = 1) -> list[dict[str, Any]]:
        capacity = {"replicas": count, "memory_bytes": 10_000, "opset_max": 23}
        return self.verified(self.sync(idle_sync(capacity=capacity)))["leases"]  # type: ignore[no-any-return]


def problem(response: Any) -> tuple[int, str]:
    """Return status and code of a problem document, having checked its form."""
    assert response["Content-Type"] == "application/problem+json", response.content
    document = json.loads(response.content)
    assert document["status"] == response.status_code
    assert document["type"] == f"/problems/{document['code']}"
    assert document["title"]
    assert document["detail"]
    return response.status_code, document["code"]


def commitment(lease: dict[str, Any], output: bytes, *, inline: bool = True) -> dict[str, Any]:
    salted = hashlib.sha256(bytes.fromhex(lease["salt"]) + output).hexdigest()
    return {
        "token": lease["token"],
        "digest": salted,
        "bytes": len(output),
        "inline": [0, len(output)] if inline else None,
        "sketch": None,
        "seconds": 0.5,
    }
