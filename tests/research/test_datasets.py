"""`/api/v1/datasets`."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.research.onnx_files import npz_bytes


def test_an_npz_dataset_is_registered_with_its_columns(caller) -> None:
    data = npz_bytes(7)
    answer = caller.upload("/datasets", data, {"name": "seven", "format": "npz"})
    assert answer.status_code == 201
    dataset = answer.json()
    assert answer["Location"] == f"/api/v1/datasets/{dataset['id']}"
    assert (dataset["name"], dataset["format"], dataset["rows"], dataset["bytes"]) == ("seven", "npz", 7, len(data))
    assert dataset["columns"] == [{"name": "x", "dtype": "F32", "shape": [4]}]
    assert caller.get(f"/datasets/{dataset['id']}").json() == dataset
    assert caller.get("/datasets").json()["data"] == [dataset]


def test_a_parquet_dataset_is_registered_with_its_columns(caller) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"n": pa.array([1, 2, 3], pa.int64())}), file)
    dataset = caller.upload("/datasets", file.getvalue(), {"name": "three", "format": "parquet"}).json()
    assert (dataset["rows"], dataset["columns"]) == (3, [{"name": "n", "dtype": "I64", "shape": []}])


def test_a_refused_dataset_says_what_is_wrong_and_stores_nothing(caller) -> None:
    from workunits.models import Blob, Dataset

    for data in (b"not a container", npz_bytes(x=np.zeros((0, 4), np.float32))):
        answer = caller.upload("/datasets", data, {"name": "bad", "format": "npz"})
        assert (answer.status_code, answer.json()["code"]) == (422, "dataset_refused")
        assert answer.json()["detail"]
    assert (Dataset.objects.count(), Blob.objects.count()) == (0, 0)


def test_an_unknown_format_is_pointed_at(caller) -> None:
    answer = caller.upload("/datasets", npz_bytes(), {"name": "d", "format": "csv"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/format")


def test_datasets_of_another_project_are_not_there(caller, make_caller) -> None:
    dataset_id = caller.upload("/datasets", npz_bytes(), {"name": "d", "format": "npz"}).json()["id"]
    answer = make_caller().get(f"/datasets/{dataset_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "dataset_unknown")
