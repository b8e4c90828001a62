"""`/api/v1/models`."""

from __future__ import annotations

import base64
import hashlib

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.research.onnx_files import linear_bytes, loop_bytes


def stored() -> tuple[int, int]:
    from workunits.models import Blob, OnnxModel

    return OnnxModel.objects.count(), Blob.objects.count()


def test_a_model_is_admitted_with_what_the_dry_run_found(caller) -> None:
    data = linear_bytes()
    answer = caller.upload("/models", data, {"name": "linear", "batch_rows": 8})
    assert answer.status_code == 201
    model = answer.json()
    assert answer["Location"] == f"/api/v1/models/{model['id']}"
    assert model["id"].startswith("mod_")
    assert model["sha256"] == hashlib.sha256(data).hexdigest()
    assert model["bytes"] == len(data)
    assert model["opset"] == 17
    assert model["operators"] == ["MatMul"]
    assert model["inputs"] == [{"name": "x", "dtype": "F32", "shape": [4]}]
    assert model["outputs"] == [{"name": "y", "dtype": "F32", "shape": [3], "comparator": "logits", "tolerance": 1e-4}]
    assert model["batch_rows"] == 8
    assert model["flops_per_row"] == 2 * 4 * 3
    assert model["memory_bytes"] > 0
    assert caller.get(f"/models/{model['id']}").json() == model


def test_a_model_comes_as_a_form_too(caller) -> None:
    answer = caller.client.post(
        "/api/v1/models",
        {"name": "linear", "file": SimpleUploadedFile("m.onnx", linear_bytes())},
        headers={"Authorization": f"Bearer {caller.key}"},
    )
    assert answer.status_code == 201
    assert answer.json()["batch_rows"] == 16


def test_outputs_can_be_chosen_with_their_comparator(caller) -> None:
    query = {"name": "linear", "outputs": '[{"name": "y", "comparator": "dense", "tolerance": 0.001}]'}
    answer = caller.upload("/models", linear_bytes(), query)
    assert answer.json()["outputs"] == [
        {"name": "y", "dtype": "F32", "shape": [3], "comparator": "dense", "tolerance": 0.001}
    ]


def test_a_refused_model_says_what_and_where_and_stores_nothing(caller) -> None:
    answer = caller.upload("/models", loop_bytes(), {"name": "endless"})
    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["retryable"]) == ("model_refused", False)
    assert problem["errors"] == [
        {
            "code": "unbounded_operator",
            "where": "node forever (Loop), opset 17",
            "detail": "Loop can run without end, so it is not allowed; unroll it.",
        }
    ]
    assert stored() == (0, 0)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({}, "/name"),
        ({"name": "m", "batch_rows": "0"}, "/batch_rows"),
        ({"name": "m", "fixed_dims": "[1]"}, "/fixed_dims"),
        ({"name": "m", "fixed_dims": '{"a": 0}'}, "/fixed_dims"),
        ({"name": "m", "fixed_dims": "no json"}, "/fixed_dims"),
        ({"name": "m", "outputs": '[{"comparator": "dense"}]'}, "/outputs"),
    ],
)
def test_a_wrong_option_is_pointed_at(caller, query, pointer) -> None:
    answer = caller.upload("/models", linear_bytes(), query)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert stored() == (0, 0)


def test_a_body_whose_digest_differs_is_refused(caller) -> None:
    wrong = base64.b64encode(bytes(32)).decode()
    answer = caller.upload("/models", linear_bytes(), {"name": "m"}, Content_Digest=f"sha-256=:{wrong}:")
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert answer.json()["retryable"] is True
    assert stored() == (0, 0)


def test_a_body_whose_digest_fits_is_taken(caller) -> None:
    digest = base64.b64encode(hashlib.sha256(linear_bytes()).digest()).decode()
    answer = caller.upload("/models", linear_bytes(), {"name": "m"}, Content_Digest=f"sha-256=:{digest}:")
    assert answer.status_code == 201


def test_an_empty_body_is_refused(caller) -> None:
    answer = caller.upload("/models", b"", {"name": "m"})
    assert (answer.status_code, answer.json()["code"]) == (411, "length_required")


def test_a_body_over_the_cap_is_refused_before_it_is_read(caller, monkeypatch) -> None:
    from fleetcompute.api.research import catalog

    monkeypatch.setattr(catalog, "MODEL_BYTES_MAX", 100)
    answer = caller.upload("/models", linear_bytes(), {"name": "m"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert stored() == (0, 0)


def test_another_content_type_is_refused(caller) -> None:
    answer = caller.post("/models", {"name": "m"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_form_without_its_file_is_refused(caller) -> None:
    headers = {"Authorization": f"Bearer {caller.key}"}
    answer = caller.client.post("/api/v1/models", {"name": "m"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


def test_models_of_another_project_are_not_there(caller, make_caller) -> None:
    model_id = caller.upload("/models", linear_bytes(), {"name": "m"}).json()["id"]
    stranger = make_caller()
    answer = stranger.get(f"/models/{model_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "model_unknown")
    assert stranger.get("/models").json() == {"data": [], "has_more": False, "next_cursor": None}


def test_models_are_listed_newest_first_by_cursor(caller) -> None:
    ids = [caller.upload("/models", linear_bytes(), {"name": f"m{n}"}).json()["id"] for n in range(3)]
    first = caller.get("/models", {"limit": 2}).json()
    assert [model["id"] for model in first["data"]] == ids[:0:-1]
    assert first["has_more"] is True
    second = caller.get("/models", {"limit": 2, "after": first["next_cursor"]}).json()
    assert [model["id"] for model in second["data"]] == ids[:1]
    assert (second["has_more"], second["next_cursor"]) == (False, None)


@pytest.mark.parametrize(("query", "pointer"), [({"limit": "0"}, "/limit"), ({"after": "mod_no"}, "/after")])
def test_a_wrong_page_is_pointed_at(caller, query, pointer) -> None:
    answer = caller.get("/models", query)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
