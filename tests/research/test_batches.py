"""`/api/v1/batches` and what lies below one batch."""

from __future__ import annotations

import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

from tests.research.onnx_files import npz_bytes

COUNTS_OF_TEN = {
    "total": 10, "pending": 10, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "expired": 0,
}  # fmt: skip


def test_a_batch_is_queued_with_its_contract_and_price(caller, ordered) -> None:
    from django.conf import settings

    from workunits.models import Batch

    answer = caller.post("/batches", {**ordered, "quorum": 3, "priority": 5, "metadata": {"paper": "icml"}})
    assert answer.status_code == 202
    body = answer.json()
    assert answer["Location"] == f"/api/v1/batches/{body['id']}"
    assert (body["model"], body["dataset"]) == (ordered["model"], ordered["dataset"])
    assert (body["status"], body["outcome"], body["quorum"], body["priority"]) == ("queued", None, 3, 5)
    assert body["counts"] == COUNTS_OF_TEN
    assert body["metadata"] == {"paper": "icml"}
    assert body["price_per_row_microcredits"] == 1
    batch = Batch.objects.select_related("model", "progress").get(public_id=body["id"])
    assert batch.progress.units_open == 0
    assert batch.contract == {
        "model": {"sha256": batch.model.blob_id, "bytes": batch.model.blob.size_bytes},
        "inputs": [{"name": "x", "dtype": "F32", "shape": [4]}],
        "outputs": [{"name": "y", "dtype": "F32", "shape": [3], "comparator": "logits"}],
        "batch_rows": 16,
        "limits": {
            "memory_bytes": 3 * batch.model.memory_bytes,
            "seconds": 600,
            "output_bytes_max": settings.FLEET.unit_output_bytes_max,
            "inline_bytes_max": settings.FLEET.inline_output_bytes_max,
        },
        "session": {"graph_optimization": "all", "intra_op_threads": 1},
    }


def test_the_split_is_nudged_when_the_order_has_committed(
    caller, ordered, monkeypatch, django_capture_on_commit_callbacks
) -> None:
    from workunits import tasks
    from workunits.models import Batch

    nudged: list[int] = []
    monkeypatch.setattr(tasks.split_batch, "apply_async", lambda *, kwargs, **_: nudged.append(kwargs["batch_id"]))
    with django_capture_on_commit_callbacks(execute=True):
        caller.post("/batches", ordered)
        assert nudged == []
    assert nudged == [Batch.objects.get().pk]


def test_a_broker_that_is_away_does_not_fail_the_order(
    caller, ordered, monkeypatch, django_capture_on_commit_callbacks
) -> None:
    from workunits import tasks
    from workunits.models import Batch

    def fail(**_: object) -> None:
        raise OperationalError

    monkeypatch.setattr(tasks.split_batch, "apply_async", fail)
    with django_capture_on_commit_callbacks(execute=True):
        assert caller.post("/batches", ordered).status_code == 202
    assert Batch.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "status", "code", "pointer"),
    [
        ({"model": "mod_none"}, 404, "model_unknown", "/model"),
        ({"dataset": "ds_none"}, 404, "dataset_unknown", "/dataset"),
        ({"quorum": 6}, 422, "invalid_request", "/quorum"),
        ({"quorum": "two"}, 422, "invalid_request", "/quorum"),
        ({"unit_target_seconds": 0}, 422, "invalid_request", "/unit_target_seconds"),
        ({"metadata": {"k": ["v"]}}, 422, "invalid_request", "/metadata/k"),
        ({"qorum": 2}, 422, "invalid_request", "/qorum"),
    ],
)
def test_a_wrong_order_is_pointed_at_and_changes_nothing(caller, ordered, change, status, code, pointer) -> None:
    from workunits.models import Batch, BatchProgress

    answer = caller.post("/batches", {**ordered, **change})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert (Batch.objects.count(), BatchProgress.objects.count()) == (0, 0)


def test_a_dataset_that_does_not_fit_names_input_and_columns(caller, ordered) -> None:
    import numpy as np

    from workunits.models import Batch

    data = npz_bytes(other=np.zeros((3, 4), np.float32))
    dataset = caller.upload("/datasets", data, {"name": "misfit", "format": "npz"}).json()["id"]
    answer = caller.post("/batches", {**ordered, "dataset": dataset})
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_mismatch")
    assert "'x'" in answer.json()["detail"]
    assert "other" in answer.json()["detail"]
    assert Batch.objects.count() == 0


def test_the_same_key_and_body_give_the_same_batch(caller, ordered) -> None:
    from workunits.models import Batch

    first = caller.post("/batches", ordered, Idempotency_Key="k1")
    again = caller.post("/batches", ordered, Idempotency_Key="k1")
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.json()) == (202, first.json())
    assert Batch.objects.count() == 1


def test_the_same_key_with_another_body_is_refused(caller, ordered) -> None:
    from workunits.models import Batch

    caller.post("/batches", ordered, Idempotency_Key="k1")
    answer = caller.post("/batches", {**ordered, "quorum": 1}, Idempotency_Key="k1")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Batch.objects.count() == 1


def test_a_refused_order_does_not_use_up_its_key(caller, ordered) -> None:
    assert caller.post("/batches", {**ordered, "model": "mod_no"}, Idempotency_Key="k1").status_code == 404
    assert caller.post("/batches", ordered, Idempotency_Key="k1").status_code == 202


def test_malformed_json_is_refused(caller) -> None:
    answer = caller.client.post(
        "/api/v1/batches", b"{", "application/json", headers={"Authorization": f"Bearer {caller.key}"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


def test_an_oversized_json_body_is_refused(caller) -> None:
    from fleetcompute.api.renderers import JSON_BYTES_MAX

    answer = caller.post("/batches", {"model": "m" * JSON_BYTES_MAX})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_batch_is_read_with_its_etag(caller, ordered) -> None:
    batch_id = caller.post("/batches", ordered).json()["id"]
    answer = caller.get(f"/batches/{batch_id}")
    assert (answer.status_code, answer["Retry-After"]) == (200, "2")
    assert caller.get(f"/batches/{batch_id}", If_None_Match=answer["ETag"]).status_code == 304
    caller.post(f"/batches/{batch_id}/cancel")
    assert caller.get(f"/batches/{batch_id}", If_None_Match=answer["ETag"]).status_code == 200


def test_batches_of_another_project_are_not_there(caller, make_caller, ordered) -> None:
    batch_id = caller.post("/batches", ordered).json()["id"]
    stranger = make_caller()
    for path in ("", "/progress", "/units", "/units/0", "/results"):
        assert stranger.get(f"/batches/{batch_id}{path}").json()["code"] == "batch_unknown"
    for verb in ("pause", "resume", "cancel"):
        assert stranger.post(f"/batches/{batch_id}/{verb}").json()["code"] == "batch_unknown"
    assert caller.get(f"/batches/{batch_id}").json()["status"] == "queued"


def test_batches_are_listed_by_status(caller, ordered) -> None:
    batch_id = caller.post("/batches", ordered).json()["id"]
    assert [row["id"] for row in caller.get("/batches", {"status": "queued"}).json()["data"]] == [batch_id]
    assert caller.get("/batches", {"status": "failed"}).json()["data"] == []


@pytest.mark.parametrize(
    ("verb", "before", "after", "status"),
    [
        ("pause", "in_progress", "paused", 200),
        ("pause", "paused", "paused", 200),
        ("pause", "queued", "queued", 409),
        ("pause", "cancelling", "cancelling", 409),
        ("resume", "paused", "in_progress", 200),
        ("resume", "in_progress", "in_progress", 200),
        ("resume", "finalizing", "finalizing", 409),
        ("cancel", "queued", "cancelling", 200),
        ("cancel", "paused", "cancelling", 200),
        ("cancel", "cancelling", "cancelling", 200),
        ("cancel", "finalizing", "finalizing", 409),
    ],
)
def test_a_batch_moves_only_where_its_state_allows(caller, ordered, verb, before, after, status) -> None:
    from workunits.models import Batch

    batch_id = caller.post("/batches", ordered).json()["id"]
    Batch.objects.update(status=before)
    answer = caller.post(f"/batches/{batch_id}/{verb}")
    assert answer.status_code == status
    if status == 409:
        assert answer.json()["code"] == "batch_state_conflict"
    assert Batch.objects.get().status == after


@pytest.mark.parametrize(
    ("finality", "rows_final", "status"), [("final", 1, 200), ("final", 2, 409), ("provisional", 1, 409)]
)
def test_a_batch_that_waits_for_audits_can_be_ended_and_one_whose_files_are_being_written_cannot(
    caller, ordered, finality, rows_final, status
) -> None:
    from workunits.models import Batch, BatchProgress
    from workunits.pipeline.recover import cancel_batches

    batch_id = caller.post("/batches", ordered).json()["id"]
    Batch.objects.update(status="finalizing", finality=finality)
    BatchProgress.objects.update(rows_validated=2, rows_final=rows_final, units_open=0)
    assert caller.post(f"/batches/{batch_id}/cancel").status_code == status
    cancel_batches(now=timezone.now())
    batch = Batch.objects.get()
    assert (batch.status, batch.outcome) == (("cancelled", "partial") if status == 200 else ("finalizing", None))
