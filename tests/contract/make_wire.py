"""Writes the golden messages in `wire/`, from `docs/reference/vehicle-wire.md` and nothing of the server or the client.

    python tests/contract/make_wire.py            # write them again
    python tests/contract/make_wire.py --check    # say whether they are what this file would write

Everything is deterministic: fixed keys, fixed times, fixed counters. Changing a golden message is changing the wire.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOLDER = Path(__file__).parent / "wire"
CAR_SEED = bytes(range(1, 33))
DIRECTOR_SEED = bytes(range(33, 65))
NEXT_CAR_SEED = bytes(range(65, 97))
AUTHORITY = "fleet.example:8443"
VEHICLE_ID = "veh_4Xq7Lw2mZr9TfKpB"
CREATED = 1_795_492_800
ANSWERED = 1_795_492_801
TOKENS = ("AAECAwQFBgcICQoLDA0ODw", "EBESExQVFhcYGRobHB0eHw", "ICEiIyQlJicoKSorLC0uLw", "MDEyMzQ1Njc4OTo7PD0-Pw",
          "UFFSU1RVVldYWVpbXF1eXw")  # fmt: skip
REQUEST_PARTS = '("@method" "@authority" "@path" "@query" "content-digest")'
ANSWER_PARTS = '("@status" "content-digest" "signature";req;key="sig1")'

Files = dict[str, bytes]


def make_files() -> Files:
    """Return every golden file by name."""
    files: Files = {}
    car, director = (Ed25519PrivateKey.from_private_bytes(seed) for seed in (CAR_SEED, DIRECTOR_SEED))
    car_public, director_public = (key.public_key().public_bytes_raw() for key in (car, director))
    next_car_public = Ed25519PrivateKey.from_private_bytes(NEXT_CAR_SEED).public_key().public_bytes_raw()
    key_id = "key_" + hashlib.sha256(car_public).hexdigest()[:32]
    files["keys.json"] = pretty(
        {
            "car_seed": CAR_SEED.hex(),
            "car_public_key": car_public.hex(),
            "pairing_key_id": key_id,
            "vehicle_id": VEHICLE_ID,
            "director_seed": DIRECTOR_SEED.hex(),
            "director_public_key": director_public.hex(),
            "next_car_seed": NEXT_CAR_SEED.hex(),
            "next_car_public_key": next_car_public.hex(),
        }
    )
    add_pairing(files, car, director, key_id)
    add_sketch(files)
    add_sync(files, car, director)
    add_transfers(files, car)
    add_rotation(files, car, director)
    add_account(files, car, director)
    add_refusals(files)
    return files


def add_pairing(files: Files, car: Ed25519PrivateKey, director: Ed25519PrivateKey, key_id: str) -> None:
    device_code = "gmRwBXnUyZZwFVwZtZeqRJXqGPnqJ2aTkQyL5sVb0oE"
    files["pair_device_request.json"] = compact(
        {
            "public_key": car.public_key().public_bytes_raw().hex(),
            "name": "Blue ID.3",
            "agent": "fleetclient/0.1.0",
        }
    )
    files["pair_device_answer.json"] = compact(
        {
            "device_code": device_code,
            "user_code": "BCDF-GHJK",
            "match_number": 42,
            "verification_uri": f"https://{AUTHORITY}/pair",
            "verification_uri_complete": f"https://{AUTHORITY}/pair?code=BCDF-GHJK",
            "expires_in": 600,
            "interval": 5,
        }
    )
    files["pair_token_request.json"] = compact(
        {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device_code}
    )
    files["pair_token_answer.json"] = compact(
        {
            "vehicle_id": VEHICLE_ID,
            "token_type": "httpsig",
            "access_token": VEHICLE_ID,
            "scope": "contribute",
            "director_key": director.public_key().public_bytes_raw().hex(),
        }
    )
    request = sign_request(
        car, "POST", "/api/vehicle/v1/pair/token", "pair_token_request.json", files, counter=1, key_id=key_id
    )
    files["pair_token_request.signed.json"] = pretty(request)
    files["pair_token_answer.signed.json"] = pretty(sign_answer(director, "pair_token_answer.json", files, request))


def add_sync(files: Files, car: Ed25519PrivateKey, director: Ed25519PrivateKey) -> None:
    salt = bytes(range(16)).hex()
    output = safetensors({"embedding": ("F32", [2, 3], struct.pack("<6f", 0.5, -1.0, 2.0, 0.25, 8.0, -0.125))})
    files["output.safetensors"] = output
    digest = hashlib.sha256(bytes.fromhex(salt) + output).hexdigest()
    files["output_digest.json"] = pretty({"salt": salt, "output_file": "output.safetensors", "digest": digest})
    files["input.safetensors"] = safetensors({"input_ids": ("I64", [2, 4], struct.pack("<8q", *range(8)))})

    # What the first version of the client sends: a server takes it for ever.
    first = sync_request(digest, output)
    files["sync_request_first.json"] = pretty(first)
    files["sync_request_first.frame"] = frame(first, output)
    files["sync_request_first.signed.json"] = pretty(
        sign_request(
            car, "POST", "/api/vehicle/v1/sync", "sync_request_first.frame", files, counter=1042, key_id=VEHICLE_ID
        )
    )
    request, sketch = sync_request(digest, output), bytes.fromhex(json.loads(files["sketch.json"])["sketch"])
    request["commitments"][1]["sketch"] = [len(output), len(sketch)]
    # Offered again, because the last answer said `keep`.
    again = {"inline": None, "sketch": [len(output) + len(sketch), len(sketch)], "seconds": 59.0}
    request["commitments"].append({"token": TOKENS[4], "digest": "ce" * 32, "bytes": 2097152, **again})
    request["agent"] |= {"instance": "1a" * 16, "boot": "2b" * 16, "walls": ["network_namespace", "seccomp", "rlimits"]}
    request["state"]["clock_skew_seconds"] = -2.5
    files["sync_request.json"] = pretty(request)
    files["sync_request.frame"] = frame(request, output + 2 * sketch)
    answer = sync_answer(files["input.safetensors"])
    files["sync_answer.json"] = pretty(answer)
    files["sync_answer.frame"] = frame(answer)
    signed = sign_request(
        car, "POST", "/api/vehicle/v1/sync", "sync_request.frame", files, counter=1042, key_id=VEHICLE_ID
    )
    files["sync_request.signed.json"] = pretty(signed)
    files["sync_answer.signed.json"] = pretty(sign_answer(director, "sync_answer.frame", files, signed))
    # Signed by the car's key: a car that accepts this would obey anybody who knows the form.
    files["sync_answer.forged.json"] = pretty(sign_answer(car, "sync_answer.frame", files, signed))


def add_sketch(files: Files) -> None:
    """A document of six outputs and its sketch, made with loops over plain numbers."""
    rows, salt = 7, bytes(range(16, 32))
    vectors = [[(3 * row + 2 * column) % 11 - 4.5 for column in range(5)] for row in range(rows)]
    scores = [[(5 * row + 3 * column) % 7 / 8 for column in range(4)] for row in range(rows)]
    scores[2][1] = float("-inf")
    labels = [row % 3 for row in range(rows)]
    # Classes on the first of two axes: two for each of three positions.
    shares = [[(1 + (row + place) % 7) / 8 for place in range(3)] for row in range(rows)]
    shares = [first + [1 - share for share in first] for first in shares]
    codes = [[(37 * row + 11 * column) % 256 - 128 for column in range(3)] for row in range(rows)]
    chances = [[(1 + (2 * row + 3 * place) % 5) / 8 for place in range(4)] for row in range(rows)]
    content = {
        "label": ("I64", [rows], struct.pack(f"<{rows}q", *labels)),
        "embedding": ("F32", [rows, 5], struct.pack(f"<{rows * 5}f", *itertools.chain(*vectors))),
        "logits": ("F32", [rows, 4], struct.pack(f"<{rows * 4}f", *itertools.chain(*scores))),
        "shares": ("F32", [rows, 2, 3], struct.pack(f"<{rows * 6}f", *itertools.chain(*shares))),
        "codes": ("I8", [rows, 3], struct.pack(f"<{rows * 3}b", *itertools.chain(*codes))),
        "chances": ("F32", [rows, 2, 2], struct.pack(f"<{rows * 4}f", *itertools.chain(*chances))),
    }
    files["sketch_output.safetensors"] = safetensors(content)
    equal = hashlib.blake2b(key=salt, digest_size=16, person=b"equal")
    equal.update(f"0 <i8 ({rows},) ".encode() + content["label"][2])
    buckets = [0.0] * 54
    # Five tensors share the buckets; in the second, whose numbers are not all finite, minus infinity is kind 3.
    equal.update(f"1 <f4 ({rows}, 5) ".encode())
    equal.update(f"{project_rows(vectors, salt, 1, buckets, slice(0, 10))} ".encode())
    equal.update(f"2 <f4 ({rows}, 4) ".encode())
    equal.update(bytes(3 if score == float("-inf") else 0 for row in scores for score in row))
    finite = [[0.0 if score == float("-inf") else score for score in row] for row in scores]
    equal.update(f"{project_rows(finite, salt, 2, buckets, slice(10, 21))} ".encode())
    equal.update(f"3 <f4 ({rows}, 2, 3) ".encode())
    pairs: list[list[tuple[float, ...]]] = [[(row[place], row[place + 3]) for place in range(3)] for row in shares]
    equal.update(f"{project_softmax(pairs, salt, 3, buckets, slice(21, 32))} ".encode())
    equal.update(f"4 |i1 ({rows}, 3) ".encode())
    equal.update(f"{project_rows(codes, salt, 4, buckets, slice(32, 43))} ".encode())
    equal.update(f"5 <f4 ({rows}, 2, 2) ".encode())
    positions = [tuple(row[place : place + 2]) for row in chances for place in (0, 2)]
    project(positions, salt, 5, 0, buckets, slice(43, 54))
    equal.update(b"0 ")
    choices = hashlib.blake2b(key=salt, digest_size=16, person=b"choices")
    choices.update(struct.pack(f"<{rows}i", *(row.index(max(row)) for row in scores)))
    choices.update(struct.pack(f"<{rows * 3}i", *(pair.index(max(pair)) for row in pairs for pair in row)))
    choices.update(struct.pack(f"<{rows * 2}i", *(position.index(max(position)) for position in positions)))
    sketch = struct.pack(">BBxx16s16sI54f", 1, 0, equal.digest(), choices.digest(), rows, *buckets)
    outputs = [
        {"name": "label", "dtype": "I64", "shape": [], "comparator": "exact"},
        {"name": "embedding", "dtype": "F32", "shape": [5], "comparator": "embedding"},
        {"name": "logits", "dtype": "F32", "shape": [4], "comparator": "logits"},
        {"name": "shares", "dtype": "F32", "shape": [2, 3], "comparator": "softmax", "axis": 0},
        {"name": "codes", "dtype": "I8", "shape": [3], "comparator": "dense"},
        {"name": "chances", "dtype": "F32", "shape": [2, 2], "comparator": "probabilities"},
    ]
    files["sketch.json"] = pretty(
        {
            "salt": salt.hex(),
            "output_file": "sketch_output.safetensors",
            "outputs": outputs,
            "sketch": sketch.hex(),
        }
    )


def project_rows(rows: list[list[Any]], salt: bytes, index: int, buckets: list[float], share: slice) -> int:
    """Add the projections of rows by their norms to a tensor's buckets; return the power of two of the norms."""
    norms = [math.sqrt(math.fsum(number * number for number in row)) for row in rows]
    positive = sorted(norm for norm in norms if norm > 0)
    median = positive[(len(positive) - 1) // 2]
    widths = sorted(sum(number != 0 for number in row) for row in rows if any(row))
    sizes = [max(norm, median * max(1 / 100, 1 / widths[(len(widths) - 1) // 2])) for norm in norms]
    return project_by_size(rows, sizes, salt, index, buckets, share)


def project_softmax(
    rows: list[list[tuple[float, ...]]], salt: bytes, index: int, buckets: list[float], share: slice
) -> int:
    """Add the projections of the scores behind shares, and of the shares; return the power of two of the spreads."""
    scores: list[list[float]] = []
    squares: list[list[float]] = []
    for row in rows:
        squares.append([])
        for position in row:
            logarithms = [math.log(each) for each in position]
            mean = math.fsum(logarithms) / len(logarithms)
            scores.append([each - mean for each in logarithms])
            squares[-1].append(math.fsum(each * each for each in scores[-1]) / len(logarithms))
    spreads = sorted(math.sqrt(each) for row in squares for each in row)
    median = spreads[(len(spreads) - 1) // 2]
    usual = [max(math.sqrt(each), math.sqrt(math.fsum(row) / len(row)), median, 1.0) for row in squares for each in row]
    sizes = [each * math.sqrt(len(position)) for each, position in zip(usual, scores, strict=True)]
    magnitude = project_by_size(scores, sizes, salt, index, buckets, share)
    project([position for row in rows for position in row], salt, index, 1, buckets, share)
    return magnitude


def project_by_size(
    rows: list[list[Any]], sizes: list[float], salt: bytes, index: int, buckets: list[float], share: slice
) -> int:
    magnitude = round(math.log2(sorted(sizes)[(len(sizes) - 1) // 2]) + 1 / 3)
    measured = [
        (*(number / size for number in row), math.log(size) - magnitude * math.log(2))
        for row, size in zip(rows, sizes, strict=True)
    ]
    project(measured, salt, index, 0, buckets, share)
    return magnitude


def project(
    rows: list[tuple[float, ...]], salt: bytes, index: int, chunk: int, buckets: list[float], share: slice
) -> None:
    """Add the projections of rows that are one chunk of a tensor to its buckets."""
    count, width, room = len(rows), len(rows[0]), share.stop - share.start
    signs = hashlib.shake_256(b"signs" + struct.pack(">II", index, chunk) + salt).digest(-(-2 * count * width // 8))
    places = hashlib.shake_256(b"places" + struct.pack(">II", index, 0) + salt).digest(4 * count)
    drawn = hashlib.shake_256(b"weights" + struct.pack(">II", index, chunk) + salt).digest(8)
    weighed = [[value * weigh(drawn, row * width + column) for column, value in enumerate(values)]
               for row, values in enumerate(rows)]  # fmt: skip
    words = struct.unpack(f">{2 * count}H", places)
    for row, values in enumerate(weighed):
        first = words[row] % room
        second = (first + 1 + words[count + row] % (room - 1)) % room
        for projection, place in enumerate((first, second)):
            start = (projection * count + row) * width
            bits = (signs[at // 8] >> (7 - at % 8) & 1 for at in range(start, start + width))
            total = math.fsum(value if bit else -value for value, bit in zip(values, bits, strict=True))
            buckets[share.start + place] += total


def weigh(drawn: bytes, number: int) -> float:
    """Return the weight of a chunk's number, counted row by row."""
    first, step = struct.unpack(">II", drawn)
    word: int = (number * (step | 1) + first) % 2**32
    word = (word ^ word >> 16) * 0x7FEB352D % 2**32
    return word / 2**32 + 0.5


def sync_request(digest: str, output: bytes) -> dict[str, Any]:
    return {
        "protocol": 1,
        "agent": {"version": "0.1.0", "runtime": "onnxruntime/1.32.0", "class": "cpu-fp32-ort1.32-avx2"},
        "state": {"eligible": True, "reasons": []},
        "capacity": {"replicas": 3, "memory_bytes": 2147483648, "opset_max": 23},
        "models": ["ab" * 32],
        "held": [TOKENS[2]],
        "commitments": [
            {
                "token": TOKENS[0],
                "digest": digest,
                "bytes": len(output),
                "inline": [0, len(output)],
                "sketch": None,
                "seconds": 1.25,
            },
            {
                "token": TOKENS[1],
                "digest": "cd" * 32,
                "bytes": 1048576,
                "inline": None,
                "sketch": None,
                "seconds": 61.5,
            },
        ],
        "returned": [
            {"token": TOKENS[3], "kind": "returned", "reason": "driving", "detail": ""},
        ],
    }


def sync_answer(input_document: bytes) -> dict[str, Any]:
    return {
        "protocol": 1,
        "vehicle": VEHICLE_ID,
        "server_time": "2026-11-24T04:00:01Z",
        "next_sync_seconds": 1.0,
        "outcomes": [
            {"token": TOKENS[0], "code": "stored"},
            {"token": TOKENS[1], "code": "upload"},
            {"token": TOKENS[4], "code": "keep"},
            {"token": TOKENS[3], "code": "returned"},
        ],
        "cancelled": [TOKENS[2]],
        "contracts": {
            "c1": {
                "model": {"sha256": "ab" * 32, "bytes": 90300000},
                "inputs": [{"name": "input_ids", "dtype": "I64", "shape": [4]}],
                "outputs": [{"name": "embedding", "dtype": "F32", "shape": [3], "comparator": "embedding"}],
                "batch_rows": 16,
                "limits": {
                    "memory_bytes": 600000000,
                    "seconds": 600,
                    "output_bytes_max": 1048576,
                    "inline_bytes_max": 8192,
                },
                "session": {"graph_optimization": "all", "intra_op_threads": 1},
            }
        },
        "leases": [
            {
                "token": "QEFCQ0RFRkdISUpLTE1OTw",
                "contract": "c1",
                "salt": bytes(range(16)).hex(),
                "rows": 2,
                "input": {
                    "sha256": "ef" * 32,
                    "range": [128, 128 + len(input_document)],
                    "digest": hashlib.sha256(input_document).hexdigest(),
                },
                "deadline_seconds": 900,
            }
        ],
        "messages": [{"level": "info", "code": "welcome", "text": "Xe đã sẵn sàng."}],
        "rules": {"stop_soc_pct": 60},
    }


def add_transfers(files: Files, car: Ed25519PrivateKey) -> None:
    blob, output = f"/api/vehicle/v1/blobs/{'ef' * 32}", f"/api/vehicle/v1/outputs/{TOKENS[1]}"
    for name, method, path, body, counter in (
        ("blob_get_request", "GET", blob, None, 1043),
        ("output_head_request", "HEAD", output, None, 1044),
        ("output_patch_request", "PATCH", output, "output.safetensors", 1045),
    ):
        signed = sign_request(car, method, path, body, files, counter=counter, key_id=VEHICLE_ID)
        files[f"{name}.signed.json"] = pretty(signed)


def add_rotation(files: Files, car: Ed25519PrivateKey, director: Ed25519PrivateKey) -> None:
    following = Ed25519PrivateKey.from_private_bytes(NEXT_CAR_SEED)
    old, new = (key.public_key().public_bytes_raw().hex() for key in (car, following))
    proof = following.sign(f"fleetcompute-key-rotation-1\n{VEHICLE_ID}\n{old}\n{new}".encode())
    files["pair_rotate_request.json"] = compact({"public_key": new, "proof": proof.hex()})
    files["pair_rotate_answer.json"] = compact({"vehicle_id": VEHICLE_ID, "public_key": new})
    request = sign_request(
        car, "POST", "/api/vehicle/v1/pair/rotate", "pair_rotate_request.json", files, counter=1046, key_id=VEHICLE_ID
    )
    files["pair_rotate_request.signed.json"] = pretty(request)
    files["pair_rotate_answer.signed.json"] = pretty(sign_answer(director, "pair_rotate_answer.json", files, request))


def add_account(files: Files, car: Ed25519PrivateKey, director: Ed25519PrivateKey) -> None:
    files["account_answer.json"] = compact(
        {
            "vehicle": VEHICLE_ID,
            "since": 1795449600,
            "gross_today_microcredits": 1250000,
            "currency": "EUR",
            "microcredits_per_currency_unit": 1000000,
        }
    )
    request = sign_request(
        car,
        "GET",
        "/api/vehicle/v1/account",
        None,
        files,
        counter=1047,
        key_id=VEHICLE_ID,
        query="since=1795449600",
    )
    files["account_request.signed.json"] = pretty(request)
    files["account_answer.signed.json"] = pretty(sign_answer(director, "account_answer.json", files, request))


def add_refusals(files: Files) -> None:
    files["problem.json"] = compact(
        {
            "type": "https://fleet.example/problems/vehicle_revoked",
            "title": "This vehicle was removed",
            "status": 403,
            "detail": "The owner removed this car.",
            "code": "vehicle_revoked",
            "retryable": False,
        }
    )
    empty = json.dumps({"protocol": 1}).encode()
    files["frames_malformed.json"] = pretty(
        {
            "empty": "",
            "wrong magic": (b"FLT2" + struct.pack(">I", len(empty)) + empty).hex(),
            "shorter than its length": (b"FLT1" + struct.pack(">I", len(empty) + 1) + empty).hex(),
            "length over every limit": (b"FLT1" + b"\xff\xff\xff\xff" + empty).hex(),
            "not JSON": (b"FLT1" + struct.pack(">I", 4) + b"{]}[").hex(),
            "not an object": (b"FLT1" + struct.pack(">I", 2) + b"[]").hex(),
            "not UTF-8": (b"FLT1" + struct.pack(">I", 9) + b'{"a":"\xff"}').hex(),
        }
    )


def sign_request(
    car: Ed25519PrivateKey,
    method: str,
    path: str,
    body_file: str | None,
    files: Files,
    *,
    counter: int,
    key_id: str,
    query: str = "",
) -> dict[str, Any]:
    digest = content_digest(files[body_file] if body_file else b"")
    params = (
        f'{REQUEST_PARTS};created={CREATED};expires={CREATED + 120};nonce="{counter}";keyid="{key_id}"'
        ';tag="fleetcompute-vehicle"'
    )
    base = "\n".join(
        (
            f'"@method": {method}',
            f'"@authority": {AUTHORITY}',
            f'"@path": {path}',
            f'"@query": ?{query}',
            f'"content-digest": {digest}',
            f'"@signature-params": {params}',
        )
    )
    return {
        "method": method,
        "authority": AUTHORITY,
        "path": path,
        "query": query,
        "body_file": body_file,
        "created": CREATED,
        "counter": counter,
        "key_id": key_id,
        "base": base,
        "headers": signature_headers(car, base, params, digest),
    }


def sign_answer(director: Ed25519PrivateKey, body_file: str, files: Files, request: dict[str, Any]) -> dict[str, Any]:
    digest = content_digest(files[body_file])
    params = f'{ANSWER_PARTS};created={ANSWERED};keyid="director";tag="fleetcompute-director"'
    base = "\n".join(
        (
            '"@status": 200',
            f'"content-digest": {digest}',
            f'"signature";req;key="sig1": {request["headers"]["Signature"].removeprefix("sig1=")}',
            f'"@signature-params": {params}',
        )
    )
    return {
        "status": 200,
        "body_file": body_file,
        "created": ANSWERED,
        "request_signature": request["headers"]["Signature"],
        "base": base,
        "headers": signature_headers(director, base, params, digest),
    }


def signature_headers(key: Ed25519PrivateKey, base: str, params: str, digest: str) -> dict[str, str]:
    signature = base64.b64encode(key.sign(base.encode("ascii"))).decode("ascii")
    return {"Content-Digest": digest, "Signature-Input": f"sig1={params}", "Signature": f"sig1=:{signature}:"}


def content_digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}:"


def frame(document: dict[str, Any], attachments: bytes = b"") -> bytes:
    content = compact(document)
    return b"FLT1" + struct.pack(">I", len(content)) + content + attachments


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = compact(header)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def pretty(document: Any) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def main() -> int:
    files = make_files()
    if "--check" in sys.argv[1:]:
        found = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.name != "README.md"}
        return 0 if found == files else 1
    FOLDER.mkdir(exist_ok=True)
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
