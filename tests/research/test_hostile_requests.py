"""Requests that nobody sends by accident: each is refused by its code, none is an error of ours."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from django.db import connections

from tests.research.onnx_files import linear_bytes, model_of, npz_bytes

NUL = "a\x00b"


@pytest.mark.parametrize("path", ["/models/mod_%00", "/models/%00", "/batches/bat_%27", "/batches/bat_x/units/-1"])
def test_an_id_that_cannot_be_one_is_not_found(caller, path) -> None:
    answer = caller.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "query"),
    [("/models", {"after": NUL}), ("/batches", {"status": NUL}), ("/batches", {"status": "done"})],
)
def test_a_query_that_cannot_be_asked_is_pointed_at(caller, path, query) -> None:
    answer = caller.get(path, query)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["pointer"] == f"/{next(iter(query))}"


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {NUL: "v"}},
        {"metadata": {"k": NUL}},
        {"model": NUL},
        {"unit_target_seconds": "nan"},
        {"quorum": 10**30},
        {"metadata": {str(number): "" for number in range(17)}},
    ],
)
def test_an_order_that_cannot_be_stored_is_refused(caller, ordered, change) -> None:
    from workunits.models import Batch

    answer = caller.post("/batches", {**ordered, **change})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert Batch.objects.count() == 0


@pytest.mark.parametrize(
    "query",
    [
        {"fixed_dims": '{"\\ud800": 1}'},
        {"fixed_dims": '{"' + "x" * 200_000 + '": 1}'},
        {"outputs": '[{"name": "\\u0000"}]'},
        {"outputs": '[{"name": "y", "comparator": 5}]'},
        {"outputs": '[{"name": "y", "options": {"axis": 1}}]'},
        {"outputs": '[{"name": "y", "comparator": "logits", "options": {"axis": "last"}}]'},
        {"outputs": '[{"name": "y", "comparator": "logits", "options": [1]}]'},
        {"outputs": '[{"name": "y", "tolerance": NaN}]'},
        {"outputs": "[" + ", ".join(['{"name": "y"}'] * 65) + "]"},
    ],
)
def test_options_that_cannot_reach_the_sandbox_are_refused(caller, query) -> None:
    from workunits.models import OnnxModel

    answer = caller.upload("/models", linear_bytes(), {"name": "m", **query})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert OnnxModel.objects.count() == 0


def test_names_that_cannot_be_stored_are_refused(caller) -> None:
    from onnx import TensorProto, helper

    model = model_of(
        [helper.make_node("Relu", [NUL], ["y"])],
        inputs=[helper.make_tensor_value_info(NUL, TensorProto.FLOAT, ["rows", 4])],
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 4])],
    )
    refused = caller.upload("/models", model.SerializeToString(), {"name": "m"})
    assert (refused.status_code, refused.json()["code"]) == (422, "model_refused")
    data = npz_bytes(2, **{"a\x01b": np.zeros((2, 4), np.float32)})
    answer = caller.upload("/datasets", data, {"name": "d", "format": "npz"})
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_refused")


def test_an_examination_whose_turn_does_not_come_says_try_again(caller, monkeypatch) -> None:
    from workunits.models import OnnxModel
    from workunits.sandbox import admit

    monkeypatch.setattr(admit, "TURN_SECONDS_MAX", 0.05)
    monkeypatch.setattr(admit, "_turns", threading.BoundedSemaphore(1))
    with admit._turns:
        answer = caller.upload("/models", linear_bytes(), {"name": "m"})
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (503, "unavailable", True)
    assert OnnxModel.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_orders_under_one_key_at_once_make_one_batch(caller, ordered) -> None:
    from tests.research.conftest import Caller
    from workunits.models import Batch

    answers = []
    gate = threading.Barrier(8)

    def order() -> None:
        try:
            mine = Caller(caller.key, caller.project)
            gate.wait()
            answers.append(mine.post("/batches", ordered, Idempotency_Key="one"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=order) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [202] * 8
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Batch.objects.count() == 1
