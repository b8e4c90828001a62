"""The server's side of the golden messages in `wire/`. The client's side is tested against the same files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from fleetcompute.api.errors import Malformed
from fleetcompute.api.vehicle.frames import read_frame, write_frame
from fleetcompute.api.vehicle.messages import (
    ERROR_REASONS,
    RETURN_REASONS,
    OwnerMessage,
    read_self,
    read_sync,
    write_answer,
)
from fleetcompute.api.vehicle.signing import (
    Director,
    SignatureExpired,
    SignatureInvalid,
    content_digest,
    is_rotation_proved,
    parse_signature,
    verify_request,
)
from tests.contract.make_wire import FOLDER
from workunits.domain.comparison import ComparatorOptions, OutputSpec
from workunits.domain.outputs import OutputDigestMismatch, check_output
from workunits.domain.sketch import SKETCH_MATCH_MAX, describe_comparison, make_sketch, sketch_distance
from workunits.domain.tokens import ReplicaRef, salted_digest
from workunits.domain.types import TensorSpec
from workunits.pipeline.dispatch import Lease, SyncAnswer
from workunits.pipeline.identity import SaidOfItself
from workunits.store.leases import LeasedReplica


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_bytes())


def body_of(signed: dict[str, Any]) -> bytes:
    return (FOLDER / signed["body_file"]).read_bytes() if signed["body_file"] else b""


KEYS = read("keys.json")
SIGNED_REQUESTS = [
    "pair_token_request",
    "sync_request",
    "sync_request_first",
    "pair_rotate_request",
    "account_request",
    "blob_get_request",
    "output_head_request",
    "output_patch_request",
]


def verify(golden: dict[str, Any], *, at: float | None = None, **changes: Any) -> None:
    verify_request(
        parse_signature(golden["headers"]),
        **{
            "public_key": bytes.fromhex(KEYS["car_public_key"]),
            "method": golden["method"],
            "authority": golden["authority"],
            "path": golden["path"],
            "query": golden["query"],
            "digest_header": golden["headers"]["Content-Digest"],
            "body": body_of(golden),
            "now_seconds": golden["created"] + 5 if at is None else at,
            **changes,
        },
    )


@pytest.mark.parametrize("name", SIGNED_REQUESTS)
def test_the_server_accepts_each_golden_request(name):
    golden = read(f"{name}.signed.json")
    verify(golden)
    signature = parse_signature(golden["headers"])
    assert (signature.counter, signature.key_id) == (golden["counter"], golden["key_id"])


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"authority": "evil.example"},
        {"path": "/api/vehicle/v1/other"},
        {"query": "a=b"},
        {"body": b"other"},
        {"public_key": bytes(32)},
    ],
)
def test_a_golden_request_with_anything_changed_is_refused(change):
    golden = read("sync_request.signed.json")
    with pytest.raises(SignatureInvalid):
        verify(golden, **change)


def test_a_request_ages_out_and_one_from_the_future_is_refused():
    golden = read("sync_request.signed.json")
    verify(golden, at=golden["created"] + 120 + 299)
    verify(golden, at=golden["created"] - 299)
    for moment in (golden["created"] + 120 + 301, golden["created"] - 301):
        with pytest.raises(SignatureExpired):
            verify(golden, at=moment)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "sync_request",
            SaidOfItself(
                instance="1a" * 16,
                boot="2b" * 16,
                walls=("network_namespace", "seccomp", "rlimits"),
                clock_skew_seconds=-2.5,
            ),
        ),
        ("sync_request_first", SaidOfItself()),
    ],
)
def test_the_golden_syncs_of_both_versions_read_as_what_they_say(name, said):
    golden = read(f"{name}.signed.json")
    content, attachments = read_frame(body_of(golden))
    assert content == read(f"{name}.json")
    assert read_self(content) == said
    request = read_sync(content, attachments, counter=1042)
    assert (request.heartbeat.counter, request.wanted, len(request.held)) == (1042, 3, 1)
    sketch = bytes.fromhex(read("sketch.json")["sketch"])
    output = (FOLDER / "output.safetensors").read_bytes()
    wanted = [(104, output, None), (1048576, None, sketch), (2097152, None, sketch)]
    if name == "sync_request_first":
        wanted = [(104, output, None), (1048576, None, None)]
    assert [(item.output_bytes, item.output, item.sketch) for item in request.commitments] == wanted
    assert [(item.is_error, item.reason) for item in request.returned] == [(False, "driving")]


def test_the_golden_output_has_the_golden_digest_and_fits_the_golden_contract():
    golden, contract = read("output_digest.json"), read("sync_answer.json")["contracts"]["c1"]
    data = (FOLDER / golden["output_file"]).read_bytes()
    salt, digest = bytes.fromhex(golden["salt"]), bytes.fromhex(golden["digest"])
    assert salted_digest(salt, data) == digest
    specs = tuple(
        TensorSpec(name=item["name"], dtype=item["dtype"], shape=tuple(item["shape"])) for item in contract["outputs"]
    )
    _, rows = check_output(data, commitment=digest, salt=salt, specs=specs, bytes_max=len(data))
    assert rows == read("sync_answer.json")["leases"][0]["rows"]
    with pytest.raises(OutputDigestMismatch):
        check_output(data + b"x", commitment=digest, salt=salt, specs=specs, bytes_max=1000)


def spec_of(output: dict[str, Any]) -> OutputSpec:
    """Return the spec behind a contract's output."""
    said = output["comparator"]
    is_softmax, is_8_bits = said == "softmax", output["dtype"] == "I8"
    task = said if is_8_bits else "embedding"
    return OutputSpec(
        name=output["name"],
        dtype=output["dtype"],
        shape=tuple(output["shape"]),
        comparator="int8" if is_8_bits else "probabilities" if is_softmax else said,
        tolerance=1e-6,
        options=ComparatorOptions(softmax=is_softmax, axis=output.get("axis", -1), task=task),
    )


def test_the_server_sketches_the_golden_output_as_the_wire_page_says():
    golden = read("sketch.json")
    document, salt = (FOLDER / golden["output_file"]).read_bytes(), bytes.fromhex(golden["salt"])
    specs = [spec_of(output) for output in golden["outputs"]]
    assert [describe_comparison(spec) for spec in specs] == [
        {name: output[name] for name in ("comparator", "axis") if name in output} for output in golden["outputs"]
    ]
    wanted = bytes.fromhex(golden["sketch"])
    assert make_sketch(document, specs, salt)[:40] == wanted[:40]
    assert sketch_distance(document, wanted, specs, salt) <= SKETCH_MATCH_MAX


@pytest.mark.parametrize(
    ("sketch", "problem"),
    [
        ([104, 255], "commitments.sketch must have 256 bytes"),
        ([104, 0], "commitments.sketch must have 256 bytes"),
        ([104, 600], "commitments.sketch must be [offset, length] within the attachments"),
        ([-1, 256], "commitments.sketch must be [offset, length] within the attachments"),
        ("00" * 256, "commitments.sketch must be [offset, length] within the attachments"),
        ([0.0, 256], "commitments.sketch must be [offset, length] within the attachments"),
    ],
)
def test_a_sketch_that_is_none_is_refused(sketch, problem):
    content, attachments = read_frame((FOLDER / "sync_request.frame").read_bytes())
    content["commitments"][1]["sketch"] = sketch
    with pytest.raises(Malformed) as refusal:
        read_sync(content, attachments, counter=1042)
    assert str(refusal.value) == problem


@pytest.mark.parametrize("name", sorted(read("frames_malformed.json")))
def test_a_malformed_frame_is_refused(name):
    with pytest.raises(Malformed):
        read_frame(bytes.fromhex(read("frames_malformed.json")[name]))


def test_the_server_writes_the_golden_answer():
    golden = read("sync_answer.json")
    content, attachments = read_frame((FOLDER / "sync_answer.frame").read_bytes())
    assert (content, bytes(attachments)) == (golden, b"")
    leases = [
        Lease(
            token=item["token"],
            salt=bytes.fromhex(item["salt"]),
            deadline_seconds=item["deadline_seconds"],
            replica=LeasedReplica(
                ReplicaRef(int(item["contract"][1:]), index, 1, 1),
                item["rows"],
                item["input"]["sha256"],
                item["input"]["range"][0],
                item["input"]["range"][1],
                bytes.fromhex(item["input"]["digest"]),
            ),
        )
        for index, item in enumerate(golden["leases"])
    ]
    answer = SyncAnswer(
        outcomes=[(item["token"], item["code"]) for item in golden["outcomes"]],
        cancelled=golden["cancelled"],
        leases=leases,
        contracts={int(name[1:]): contract for name, contract in golden["contracts"].items()},
        next_sync_seconds=golden["next_sync_seconds"],
    )
    moment = datetime.strptime(golden["server_time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    messages = [OwnerMessage(**item) for item in golden["messages"]]
    written = write_answer(answer, now=moment, vehicle=golden["vehicle"], rules=golden["rules"], messages=messages)
    assert written == golden
    assert read_frame(write_frame(written))[0] == written


def test_the_server_accepts_the_golden_proof_of_a_new_key_and_no_other():
    golden, old = read("pair_rotate_request.json"), bytes.fromhex(KEYS["car_public_key"])
    proof, new = bytes.fromhex(golden["proof"]), bytes.fromhex(golden["public_key"])
    told = {"vehicle_id": KEYS["vehicle_id"], "old_key": old, "new_key": new}
    assert is_rotation_proved(proof, **told)
    assert not is_rotation_proved(proof, **{**told, "vehicle_id": "veh_another"})
    assert not is_rotation_proved(proof, **{**told, "old_key": bytes(32)})
    assert not is_rotation_proved(proof, **{**told, "new_key": old})
    assert not is_rotation_proved(proof[:-1] + b"\0", **told)


def test_both_sides_know_the_same_reasons():
    from fleetclient import wire

    assert set(wire.RETURN_REASONS) == RETURN_REASONS
    assert set(wire.ERROR_REASONS) == ERROR_REASONS


@pytest.mark.parametrize("name", ["sync", "pair_token", "pair_rotate", "account"])
def test_the_server_signs_the_golden_answer_as_the_golden_director_did(name):
    golden = read(f"{name}_answer.signed.json")
    director = Director(bytes.fromhex(KEYS["director_seed"]))
    assert director.public_key.hex() == KEYS["director_public_key"]
    request = parse_signature(read(f"{name}_request.signed.json")["headers"])
    signed = director.sign(status=200, body=body_of(golden), request=request, now_seconds=golden["created"])
    assert signed == golden["headers"]
    assert signed["Content-Digest"] == content_digest(body_of(golden))
