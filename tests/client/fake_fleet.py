"""A small honest server that speaks the vehicle wire, for the client's tests. Real HTTP, real signatures.

It was written from `docs/reference/vehicle-wire.md` and shares no code with the client. Knobs make it misbehave:
each is a plain attribute that a test sets.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import struct
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PREFIX = "/api/vehicle/v1/"
INPUT_LINE = re.compile(
    r'sig1=(\("@method" "@authority" "@path" "@query" "content-digest"\);created=(\d+);expires=(\d+);nonce="(\d+)"'
    r';keyid="([A-Za-z0-9_]+)";tag="fleetcompute-vehicle")'
)


class Refused(Exception):
    def __init__(self, status: int, code: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.headers = status, code, headers or {}


@dataclass
class FakeUnit:
    """One unit of work and the replica of it that is out, if any."""

    contract: dict[str, Any]
    input_sha256: str
    input_range: tuple[int, int]
    rows: int
    state: str = "waiting"  # waiting leased committed stored
    token: str = ""
    salt: str = ""
    commitment: dict[str, Any] = field(default_factory=dict)
    output: bytes = b""
    upload: bytearray = field(default_factory=bytearray)
    leased_at: float = 0.0


class FakeFleet:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.director = Ed25519PrivateKey.from_private_bytes(b"d" * 32)
        self.blobs: dict[str, bytes] = {}
        self.units: list[FakeUnit] = []
        self.replicas: dict[str, FakeUnit] = {}
        self.vehicles: dict[str, bytes] = {}
        self.last_counter: dict[str, int] = {}
        self.syncs: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.hand_backs: list[dict[str, Any]] = []
        # Knobs.
        self.next_sync_seconds = 0.05
        self.deadline_seconds = 600.0
        self.polls_before_approval = 1
        self.pairing_answers: list[str] = []
        self.sign_answers_with: Ed25519PrivateKey | None = None
        self.answer_tamper = b""
        self.answer_changes: dict[str, Any] = {}
        self.rules: dict[str, Any] | None = None
        self.previous_keys: dict[str, bytes] = {}
        self.signed_with = b""
        self.rotations = 0
        self.gross_microcredits = 0
        self.refuse_next: list[tuple[str, Refused]] = []
        self.corrupt_next_downloads = 0
        self.cut_downloads_at: list[int] = []
        self.ignore_ranges = False
        self.clock_offset_seconds = 0.0
        self.outcome_overrides: dict[str, str] = {}
        self.cancel_tokens: list[str] = []
        self.extra_leases: list[dict[str, Any]] = []
        self.drop_answers = 0
        self.drop_next_answer_to_a_commitment = False
        self._pairings: dict[str, str] = {}
        self._server: ThreadingHTTPServer | None = None

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> FakeFleet:
        fleet = self

        class Handler(_Handler):
            pass

        Handler.fleet = fleet
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def origin(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    # -- what tests say and ask --------------------------------------------------------------------------------

    def add_vehicle(self, vehicle_id: str, public_key: bytes) -> None:
        self.vehicles[vehicle_id] = public_key

    def add_blob(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        self.blobs[name] = content
        return name

    def add_unit(self, contract: dict[str, Any], input_document: bytes, rows: int) -> FakeUnit:
        """Put the input between other bytes of a shard, so that a client that ignores the range is found out."""
        shard = b"before" + input_document + b"after"
        unit = FakeUnit(contract, self.add_blob(shard), (6, 6 + len(input_document)), rows)
        with self.lock:
            self.units.append(unit)
        return unit

    def count(self, state: str) -> int:
        with self.lock:
            return sum(unit.state == state for unit in self.units)

    # -- requests ----------------------------------------------------------------------------------------------

    def handle(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        path, _, query = target.partition("?")
        with self.lock:
            self.requests.append((method, path, headers))
            for index, (prefix, refusal) in enumerate(self.refuse_next):
                if path.startswith(PREFIX + prefix):
                    del self.refuse_next[index]
                    raise refusal
            route = path.removeprefix(PREFIX)
            if route == "pair/device":
                return self._pair_device(json.loads(body))
            key_id, counter, signature = self._authenticate(method, path, query, headers, body)
            answers = {
                "pair/token": lambda: self._pair_token(key_id, json.loads(body)),
                "pair/rotate": lambda: self._rotate(key_id, counter, json.loads(body)),
                "account": lambda: self._account(key_id, query),
                "sync": lambda: self._sync(key_id, counter, body),
            }
            if route in answers:
                return self._signed(answers[route](), signature)
            if route.startswith("outputs/"):
                return self._outputs(method, route.removeprefix("outputs/"), headers, body)
            if route.startswith("blobs/"):
                return self._blob(route.removeprefix("blobs/"), headers)
            raise Refused(404, "not_found")

    def _authenticate(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> tuple[str, int, str]:
        digest = "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"
        found = INPUT_LINE.fullmatch(headers.get("signature-input", ""))
        signature = headers.get("signature", "")
        if not found or not signature:
            raise Refused(401, "signature_missing")
        params, created, expires, counter, key_id = found.groups()
        now = time.time() + self.clock_offset_seconds
        if abs(now - int(created)) > 300 or int(expires) - int(created) > 120:
            raise Refused(401, "signature_expired")
        base = "\n".join(
            (
                f'"@method": {method}',
                f'"@authority": {headers["host"]}',
                f'"@path": {path}',
                f'"@query": ?{query}',
                f'"content-digest": {digest}',
                f'"@signature-params": {params}',
            )
        )
        if key_id not in self.vehicles:
            raise Refused(401, "vehicle_unknown")
        keys = [self.vehicles[key_id]]
        if path.endswith("/pair/rotate") and key_id in self.previous_keys:
            keys.append(self.previous_keys[key_id])
        for key in keys:
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(base64.b64decode(signature[6:-1]), base.encode())
                self.signed_with = key
                break
            except InvalidSignature:
                continue
        else:
            raise Refused(401, "signature_invalid")
        if headers.get("content-digest") != digest:
            raise Refused(401, "signature_invalid")
        return key_id, int(counter), signature[6:-1]

    def _signed(self, body: bytes, request_signature: str) -> tuple[int, dict[str, str], bytes]:
        digest = "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"
        params = (
            f'("@status" "content-digest" "signature";req;key="sig1");created={int(time.time())}'
            ';keyid="director";tag="fleetcompute-director"'
        )
        base = "\n".join(
            (
                '"@status": 200',
                f'"content-digest": {digest}',
                f'"signature";req;key="sig1": :{request_signature}:',
                f'"@signature-params": {params}',
            )
        )
        key = self.sign_answers_with or self.director
        signature = base64.b64encode(key.sign(base.encode())).decode()
        headers = {
            "Content-Digest": digest,
            "Signature-Input": "sig1=" + params,
            "Signature": f"sig1=:{signature}:",
        }
        return 200, headers, body + self.answer_tamper

    def _pair_device(self, document: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        public_key = bytes.fromhex(document["public_key"])
        key_id = "key_" + hashlib.sha256(public_key).hexdigest()[:32]
        device_code = secrets.token_hex(16)
        self.vehicles[key_id] = public_key
        self._pairings[device_code] = key_id
        answer = {
            "device_code": device_code,
            "user_code": "BCDF-GHJK",
            "match_number": 42,
            "verification_uri": self.origin + "/pair",
            "verification_uri_complete": self.origin + "/pair?code=BCDF-GHJK",
            "expires_in": 600,
            "interval": 0,
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def _pair_token(self, key_id: str, document: dict[str, str]) -> bytes:
        if self._pairings.get(document["device_code"]) != key_id:
            raise Refused(400, "expired_token")
        if self.pairing_answers:
            raise Refused(400, self.pairing_answers.pop(0))
        if self.polls_before_approval > 0:
            self.polls_before_approval -= 1
            raise Refused(400, "authorization_pending")
        vehicle_id = "veh_" + key_id[4:16]
        self.vehicles[vehicle_id] = self.vehicles[key_id]
        director = self.director.public_key().public_bytes_raw().hex()
        return json.dumps({"vehicle_id": vehicle_id, "director_key": director}).encode()

    def _rotate(self, vehicle_id: str, counter: int, document: dict[str, str]) -> bytes:
        new = bytes.fromhex(document["public_key"])
        told = f"fleetcompute-key-rotation-1\n{vehicle_id}\n{self.signed_with.hex()}\n{new.hex()}"
        try:
            Ed25519PublicKey.from_public_bytes(new).verify(bytes.fromhex(document["proof"]), told.encode())
        except InvalidSignature:
            raise Refused(422, "rotation_proof_invalid") from None
        if self.signed_with == self.vehicles[vehicle_id]:
            if counter <= self.last_counter.get(vehicle_id, 0):
                raise Refused(409, "counter_replayed")
            self.last_counter[vehicle_id] = counter
            self.previous_keys[vehicle_id], self.vehicles[vehicle_id] = self.signed_with, new
            self.rotations += 1
        elif new != self.vehicles[vehicle_id]:
            raise Refused(401, "signature_invalid")
        return json.dumps({"vehicle_id": vehicle_id, "public_key": new.hex()}).encode()

    def _account(self, vehicle_id: str, query: str) -> bytes:
        since = int(query.removeprefix("since="))
        return json.dumps(
            {
                "vehicle": vehicle_id,
                "since": since,
                "gross_today_microcredits": self.gross_microcredits,
                "currency": None,
                "microcredits_per_currency_unit": None,
            }
            | self.answer_changes
        ).encode()

    # -- sync --------------------------------------------------------------------------------------------------

    def _sync(self, vehicle_id: str, counter: int, frame: bytes) -> bytes:
        if counter <= self.last_counter.get(vehicle_id, 0):
            raise Refused(409, "counter_replayed")
        self.last_counter[vehicle_id] = counter
        assert frame[:4] == b"FLT1"
        (length,) = struct.unpack(">I", frame[4:8])
        document = json.loads(frame[8 : 8 + length])
        attachments = frame[8 + length :]
        self.syncs.append(document)
        if document["commitments"] and self.drop_next_answer_to_a_commitment:
            self.drop_next_answer_to_a_commitment = False
            self.drop_answers = 1
        outcomes = [self._commit(item, attachments) for item in document["commitments"]]
        outcomes += [self._take_back(item) for item in document["returned"]]
        answer = json.dumps(self._answer(document, outcomes) | {"vehicle": vehicle_id} | self.answer_changes).encode()
        return b"FLT1" + struct.pack(">I", len(answer)) + answer

    def _commit(self, item: dict[str, Any], attachments: bytes) -> dict[str, str]:
        unit = self.replicas.get(item["token"])
        if item["token"] in self.outcome_overrides:
            return {"token": item["token"], "code": self.outcome_overrides[item["token"]]}
        if unit is None or unit.token != item["token"]:
            return {"token": item["token"], "code": "replica_unknown"}
        unit.commitment = item
        if unit.state == "stored":
            return {"token": unit.token, "code": "stored"}
        if item["inline"] is None:
            unit.state = "committed"
            return {"token": unit.token, "code": "upload"}
        offset, length = item["inline"]
        return {"token": unit.token, "code": self._store(unit, attachments[offset : offset + length])}

    def _store(self, unit: FakeUnit, output: bytes) -> str:
        digest = hashlib.sha256(bytes.fromhex(unit.salt) + output).hexdigest()
        if digest != unit.commitment["digest"] or len(output) != unit.commitment["bytes"]:
            return "output_digest_mismatch"
        unit.output, unit.state = output, "stored"
        return "stored"

    def _take_back(self, item: dict[str, Any]) -> dict[str, str]:
        self.hand_backs.append(item)
        unit = self.replicas.get(item["token"])
        if unit is not None and unit.token == item["token"] and unit.state == "leased":
            unit.state = "waiting" if item["kind"] == "returned" else "failed"
        return {"token": item["token"], "code": "returned"}

    def _answer(self, document: dict[str, Any], outcomes: list[dict[str, str]]) -> dict[str, Any]:
        mentioned = {item["token"] for item in document["commitments"] + document["returned"]} | set(document["held"])
        resent = [unit for unit in self.units if unit.state == "leased" and unit.token not in mentioned]
        waiting = [unit for unit in self.units if unit.state == "waiting"][: document["capacity"]["replicas"]]
        for unit in waiting:
            unit.state, unit.token, unit.salt = "leased", secrets.token_urlsafe(16), secrets.token_hex(16)
            unit.leased_at = time.time()
            self.replicas[unit.token] = unit
        contracts: dict[str, Any] = {}
        leases = [self._lease(unit, contracts) for unit in resent + waiting]
        cancelled, self.cancel_tokens = self.cancel_tokens, []
        return {
            "protocol": 1,
            "server_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.clock_offset_seconds)),
            "rules": self.rules,
            "next_sync_seconds": self.next_sync_seconds,
            "outcomes": outcomes,
            "cancelled": cancelled,
            "contracts": contracts,
            "leases": leases,
            "messages": [],
            "something_new": {"ignored": True},
        }

    def _lease(self, unit: FakeUnit, contracts: dict[str, Any]) -> dict[str, Any]:
        key = "c" + hashlib.sha256(json.dumps(unit.contract).encode()).hexdigest()[:6]
        contracts[key] = unit.contract
        start, end = unit.input_range
        content = self.blobs[unit.input_sha256][start:end]
        return {
            "token": unit.token,
            "contract": key,
            "salt": unit.salt,
            "rows": unit.rows,
            "input": {
                "sha256": unit.input_sha256,
                "range": [start, end],
                "digest": hashlib.sha256(content).hexdigest(),
            },
            "deadline_seconds": self.deadline_seconds,
        }

    # -- files -------------------------------------------------------------------------------------------------

    def _blob(self, name: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        live = [unit for unit in self.units if unit.state == "leased"]
        if not any(name in (unit.input_sha256, unit.contract["model"]["sha256"]) for unit in live):
            raise Refused(404, "blob_not_leased")
        content = self.blobs[name]
        start, end = 0, len(content)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        status, extra = 200, {"ETag": f'"{name}"', "Accept-Ranges": "bytes"}
        if found and not self.ignore_ranges:
            start, end = int(found[1]), min(int(found[2]) + 1, len(content))
            if start >= len(content):
                raise Refused(416, "range_not_satisfiable")
            status = 206
            extra["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        piece = content[start:end]
        if self.corrupt_next_downloads > 0:
            self.corrupt_next_downloads -= 1
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        if self.cut_downloads_at:
            extra["X-Cut-At"] = str(self.cut_downloads_at.pop(0))
        return status, extra, piece

    def _outputs(
        self, method: str, token: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        unit = self.replicas.get(token)
        if unit is None:
            raise Refused(404, "replica_unknown")
        if not unit.commitment:
            raise Refused(409, "upload_not_expected")
        total = unit.commitment["bytes"]
        answer = {"Tus-Resumable": "1.0.0", "Upload-Length": str(total)}
        if method == "HEAD":
            return 200, answer | {"Upload-Offset": str(len(unit.upload))}, b""
        if unit.state == "stored":
            return 204, answer | {"Upload-Offset": str(total)}, b""
        if int(headers["upload-offset"]) != len(unit.upload):
            raise Refused(409, "upload_offset_conflict")
        assert len(body) <= 1024 * 1024
        checksum = headers.get("upload-checksum", "")
        if checksum and base64.b64decode(checksum.removeprefix("sha256 ")) != hashlib.sha256(body).digest():
            raise Refused(460, "output_digest_mismatch")
        unit.upload += body
        if len(unit.upload) >= total and self._store(unit, bytes(unit.upload)) != "stored":
            unit.upload.clear()
            raise Refused(422, "output_digest_mismatch")
        return 204, answer | {"Upload-Offset": str(len(unit.upload))}, b""


class _Handler(BaseHTTPRequestHandler):
    fleet: FakeFleet
    protocol_version = "HTTP/1.1"
    # The headers and the body would otherwise wait for each other in the kernel (Nagle and delayed ACK).
    disable_nagle_algorithm = True
    wbufsize = -1

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, extra, content = self.fleet.handle(self.command, self.path, headers, body)
        except Refused as refused:
            document = {"code": refused.code, "status": refused.status, "title": refused.code, "detail": "as asked"}
            if refused.status == 400:
                document["error"] = refused.code
            status, content = refused.status, json.dumps(document).encode()
            extra = {"Content-Type": "application/problem+json", **refused.headers}
        if self.command == "POST" and self.path.endswith(("/sync", "/rotate")) and self.fleet.drop_answers > 0:
            self.fleet.drop_answers -= 1
            self.close_connection = True
            return
        self._answer(status, extra, content)

    do_GET = do_HEAD = do_POST = do_PATCH = _serve  # noqa: N815 - the names http.server looks for

    def _answer(self, status: int, extra: dict[str, str], content: bytes) -> None:
        cut_at = extra.pop("X-Cut-At", None)
        self.send_response_only(status)
        self.send_header("Date", formatdate(time.time() + self.fleet.clock_offset_seconds, usegmt=True))
        for name, value in extra.items():
            self.send_header(name, value)
        if self.command != "HEAD" and status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content if cut_at is None else content[: int(cut_at)])
        if cut_at is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
        pass
