"""The client's side of the golden messages in `wire/`. The server's side is tested against the same files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import load

from fleetclient import wire
from fleetclient.agent.departure import SETTLING
from fleetclient.rules.sentences import REASON_ORDER
from fleetclient.runner.sketch import SketchedTensor, sketch_kind, sketch_tensors
from fleetclient.signing import (
    AnswerVerifier,
    DirectorSignatureInvalid,
    RequestSigner,
    answer_base,
    pairing_key_id,
    request_base,
    request_params,
    rotation_proof,
)
from tests.contract.make_wire import FOLDER, make_files

SIGNED_REQUESTS = (
    "pair_token_request",
    "sync_request",
    "sync_request_first",
    "pair_rotate_request",
    "account_request",
    "blob_get_request",
    "output_head_request",
    "output_patch_request",
)
SIGNED_ANSWERS = ("pair_token_answer", "sync_answer", "pair_rotate_answer", "account_answer")


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_bytes())


def body_of(signed: dict[str, Any]) -> bytes:
    return (FOLDER / signed["body_file"]).read_bytes() if signed["body_file"] else b""


KEYS = read("keys.json")


def test_the_golden_files_are_what_their_maker_writes() -> None:
    found = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.name != "README.md"}
    assert found == make_files()


def test_every_golden_file_is_explained() -> None:
    explained = (FOLDER / "README.md").read_text("utf-8")
    for path in FOLDER.glob("*[!d]"):
        assert path.name in explained or path.name.removesuffix(".signed.json") in explained, path.name


def test_the_pairing_key_id_is_derived_from_the_public_key() -> None:
    assert pairing_key_id(bytes.fromhex(KEYS["car_public_key"])) == KEYS["pairing_key_id"]


@pytest.mark.parametrize("name", SIGNED_REQUESTS)
def test_requests_have_the_golden_base_and_headers(name: str) -> None:
    signed = read(f"{name}.signed.json")
    params = request_params(
        created=signed["created"],
        expires=signed["created"] + 120,
        counter=signed["counter"],
        key_id=signed["key_id"],
    )
    base = request_base(
        method=signed["method"],
        authority=signed["authority"],
        path=signed["path"],
        query=signed["query"],
        digest=signed["headers"]["Content-Digest"],
        params=params,
    )
    assert base.decode() == signed["base"]
    signer = RequestSigner(
        private_key=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEYS["car_seed"])),
        key_id=signed["key_id"],
        authority=signed["authority"].upper(),
    )
    made = signer.sign(
        signed["method"],
        signed["path"],
        body_of(signed),
        created=signed["created"],
        counter=signed["counter"],
        query=signed["query"],
    )
    assert made.headers == signed["headers"]
    assert f"sig1=:{made.signature}:" == signed["headers"]["Signature"]


@pytest.mark.parametrize("name", SIGNED_ANSWERS)
def test_answers_signed_by_the_director_are_accepted(name: str) -> None:
    signed = read(f"{name}.signed.json")
    params = signed["headers"]["Signature-Input"].removeprefix("sig1=")
    request_signature = signed["request_signature"][6:-1]
    base = answer_base(
        status=200,
        digest=signed["headers"]["Content-Digest"],
        request_signature=request_signature,
        params=params,
    )
    assert base.decode() == signed["base"]
    verify(signed)


def verify(signed: dict[str, Any], **changes: Any) -> None:
    AnswerVerifier(bytes.fromhex(KEYS["director_public_key"])).verify(
        **{
            "status": signed["status"],
            "headers": signed["headers"],
            "body": body_of(signed),
            "request_signature": signed["request_signature"][6:-1],
            **changes,
        }
    )


def test_an_answer_is_refused_when_anything_about_it_changed() -> None:
    signed = read("sync_answer.signed.json")
    other = read("blob_get_request.signed.json")["headers"]["Signature"][6:-1]
    headers = signed["headers"]
    without = {name: value for name, value in headers.items() if name != "Signature"}
    changes: list[dict[str, Any]] = [
        {"body": body_of(signed) + b" "},
        {"status": 201},
        {"request_signature": other},
        {"headers": without},
        {"headers": {}},
        {"headers": headers | {"Signature-Input": headers["Signature-Input"].replace("director", "Director")}},
        {"headers": headers | {"Signature-Input": headers["Signature-Input"].replace(' "content-digest"', "")}},
        {"headers": headers | {"Signature": "sig1=:AAAA:"}},
        {"headers": headers | {"Signature": "sig1=:!:"}},
    ]
    for change in changes:
        with pytest.raises(DirectorSignatureInvalid):
            verify(signed, **change)


def test_an_answer_signed_by_another_key_is_refused() -> None:
    forged = read("sync_answer.forged.json")
    with pytest.raises(DirectorSignatureInvalid):
        verify(forged)


def request_of(document: dict[str, Any], output: bytes, sketch: bytes) -> wire.SyncRequest:
    agent, state = document["agent"], document["state"]
    return wire.SyncRequest(
        agent=wire.AgentInfo(
            version=agent["version"],
            runtime=agent["runtime"],
            comparison_class=agent["class"],
            instance=agent.get("instance", ""),
            boot=agent.get("boot", ""),
            walls=tuple(agent["walls"]) if "walls" in agent else None,
        ),
        eligible=True,
        reasons=(),
        clock_skew_seconds=state.get("clock_skew_seconds"),
        capacity=wire.Capacity(**document["capacity"]),
        models=tuple(document["models"]),
        held=tuple(document["held"]),
        commitments=tuple(
            wire.Commitment(
                token=item["token"],
                digest=item["digest"],
                bytes=item["bytes"],
                seconds=item["seconds"],
                inline=output if item["inline"] else None,
                sketch=sketch if item["sketch"] else None,
            )
            for item in document["commitments"]
        ),
        returned=tuple(wire.HandBack(**item) for item in document["returned"]),
    )


@pytest.mark.parametrize("name", ["sync_request", "sync_request_first"])
def test_the_client_frames_a_sync_byte_for_byte(name: str) -> None:
    document = read(f"{name}.json")
    output = (FOLDER / "output.safetensors").read_bytes()
    sketch = bytes.fromhex(read("sketch.json")["sketch"])
    frame = wire.encode_sync_request(request_of(document, output, sketch))
    assert frame == (FOLDER / f"{name}.frame").read_bytes()
    decoded, attachments = wire.decode_frame(frame)
    assert decoded == document
    assert bytes(attachments) == output + sketch * sum(item["sketch"] is not None for item in document["commitments"])


def test_the_client_sketches_the_golden_output_as_the_wire_page_says() -> None:
    golden = read("sketch.json")
    tensors = load((FOLDER / golden["output_file"]).read_bytes())
    sketched = [
        SketchedTensor(
            sketch_kind(output["comparator"], output["dtype"]), tensors[output["name"]], output.get("axis", -1)
        )
        for output in golden["outputs"]
    ]
    sketch, wanted = sketch_tensors(sketched, bytes.fromhex(golden["salt"])), bytes.fromhex(golden["sketch"])
    assert sketch[:40] == wanted[:40]
    found, expected = (np.frombuffer(each, ">f4", offset=40) for each in (sketch, wanted))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_client_reads_what_it_has_earned() -> None:
    account = wire.decode_account((FOLDER / "account_answer.json").read_bytes())
    assert (account.vehicle, account.since, account.gross_microcredits) == (KEYS["vehicle_id"], 1795449600, 1250000)
    assert (account.currency, account.gross) == ("EUR", 1.25)


@pytest.mark.parametrize(
    "change",
    [
        {"vehicle": None},
        {"since": -1},
        {"gross_today_microcredits": "1"},
        {"gross_today_microcredits": 1.5},
        {"currency": 1},
        {"microcredits_per_currency_unit": 0},
    ],
)
def test_an_account_with_a_wrong_member_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(wire.MalformedMessage, match=next(iter(change))):
        wire.decode_account(json.dumps(read("account_answer.json") | change).encode())


def test_the_client_proves_its_new_key_as_the_golden_car_does() -> None:
    golden = read("pair_rotate_request.json")
    proof = rotation_proof(
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEYS["next_car_seed"])),
        vehicle_id=KEYS["vehicle_id"],
        old_key=bytes.fromhex(KEYS["car_public_key"]),
    )
    assert (golden["public_key"], golden["proof"]) == (KEYS["next_car_public_key"], proof.hex())


def test_the_client_reads_every_member_of_an_answer() -> None:
    document = read("sync_answer.json")
    answer = wire.decode_sync_answer((FOLDER / "sync_answer.frame").read_bytes())
    assert answer.next_sync_seconds == 1.0
    assert answer.vehicle == document["vehicle"]
    assert answer.rules == {"stop_soc_pct": 60}
    assert answer.server_time == 1_795_492_801.0
    assert [(each.token, each.code) for each in answer.outcomes] == [
        (each["token"], each["code"]) for each in document["outcomes"]
    ]
    assert list(answer.cancelled) == document["cancelled"]
    assert [(each.level, each.code, each.text) for each in answer.messages] == [("info", "welcome", "Xe đã sẵn sàng.")]
    contract = wire.Contract(
        model=wire.ModelRef(sha256="ab" * 32, bytes=90300000),
        inputs=(wire.TensorSpec(name="input_ids", dtype="I64", shape=(4,)),),
        outputs=(wire.TensorSpec(name="embedding", dtype="F32", shape=(3,), comparator="embedding"),),
        batch_rows=16,
        limits=wire.Limits(memory_bytes=600000000, seconds=600, output_bytes_max=1048576, inline_bytes_max=8192),
        session=wire.SessionOptions(graph_optimization="all", intra_op_threads=1),
    )
    (lease,) = document["leases"]
    assert answer.leases == (
        wire.Lease(
            token=lease["token"],
            contract=contract,
            salt=lease["salt"],
            rows=2,
            input_sha256="ef" * 32,
            input_range=tuple(lease["input"]["range"]),
            input_digest=lease["input"]["digest"],
            deadline_seconds=900.0,
        ),
    )


def test_the_digest_of_an_output_is_salted_with_raw_bytes() -> None:
    golden = read("output_digest.json")
    output = (FOLDER / golden["output_file"]).read_bytes()
    assert wire.output_digest(golden["salt"], output) == golden["digest"]


def test_the_golden_tensors_are_safetensors_that_fit_the_golden_contract() -> None:
    document = read("sync_answer.json")
    contract, (lease,) = document["contracts"]["c1"], document["leases"]
    for name, specs in (("input.safetensors", contract["inputs"]), ("output.safetensors", contract["outputs"])):
        tensors = load((FOLDER / name).read_bytes())
        assert {key: tensor.shape for key, tensor in tensors.items()} == {
            spec["name"]: (lease["rows"], *spec["shape"]) for spec in specs
        }
    start, end = lease["input"]["range"]
    content = (FOLDER / "input.safetensors").read_bytes()
    assert end - start == len(content)
    assert hashlib.sha256(content).hexdigest() == lease["input"]["digest"]


@pytest.mark.parametrize("name", sorted(read("frames_malformed.json")))
def test_a_malformed_frame_is_refused(name: str) -> None:
    with pytest.raises(wire.MalformedMessage):
        wire.decode_frame(bytes.fromhex(read("frames_malformed.json")[name]))


DELETE = object()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("protocol",), 2),
        (("vehicle",), DELETE),
        (("rules",), []),
        (("server_time",), "yesterday"),
        (("next_sync_seconds",), -1),
        (("next_sync_seconds",), "1"),
        (("next_sync_seconds",), True),
        (("outcomes",), DELETE),
        (("outcomes", 0, "token"), "../../../etc/passwd00"),
        (("cancelled", 0), "short"),
        (("contracts",), []),
        (("contracts", "c1", "model", "sha256"), "AB" * 32),
        (("contracts", "c1", "model", "sha256"), "../" + "a" * 61),
        (("contracts", "c1", "batch_rows"), 0),
        (("contracts", "c1", "inputs", 0, "dtype"), "BF16"),
        (("contracts", "c1", "inputs", 0, "shape"), [-1]),
        (("contracts", "c1", "outputs", 0, "comparator"), 1),
        (("contracts", "c1", "outputs", 0, "axis"), 1),
        (("contracts", "c1", "outputs", 0, "axis"), -2),
        (("contracts", "c1", "outputs", 0, "axis"), True),
        (("contracts", "c1", "session", "graph_optimization"), "fastest"),
        (("contracts", "c1", "session", "intra_op_threads"), 0),
        (("contracts", "c1", "limits", "seconds"), DELETE),
        (("leases", 0, "contract"), "c2"),
        (("leases", 0, "token"), "a/b" + "a" * 19),
        (("leases", 0, "salt"), "00"),
        (("leases", 0, "rows"), 0),
        (("leases", 0, "input", "range"), [5, 5]),
        (("leases", 0, "input", "range"), [5]),
        (("leases", 0, "deadline_seconds"), None),
    ],
)
def test_an_answer_with_a_wrong_member_is_refused(path: tuple[Any, ...], value: object) -> None:
    document = read("sync_answer.json")
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    if value is DELETE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    with pytest.raises(wire.MalformedMessage):
        wire.decode_sync_answer(wire.encode_frame(document))


def test_members_from_the_future_are_ignored() -> None:
    document = read("sync_answer.json")
    document["tomorrow"] = document["leases"][0]["tomorrow"] = {"new": True}
    answer = wire.decode_sync_answer(wire.encode_frame(document))
    assert answer == wire.decode_sync_answer((FOLDER / "sync_answer.frame").read_bytes())


def test_the_reason_codes_are_those_of_the_wire_page() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/vehicle-wire.md").read_text("utf-8")
    for reason in (*wire.RETURN_REASONS, *wire.ERROR_REASONS):
        assert reason in page


def test_whatever_the_rules_say_can_be_the_reason_of_a_hand_back() -> None:
    # A reason that the wire does not know would have the server refuse the whole sync, again and again.
    assert set(REASON_ORDER) - SETTLING <= set(wire.RETURN_REASONS)
