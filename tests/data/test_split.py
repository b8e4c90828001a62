"""Splitting on a real database and a real blob store."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.scenes import NOW, make_batch, make_model, output, spec, write_npz
from workunits.models import Batch, BatchProgress, Blob, Shard, Unit
from workunits.pipeline import split
from workunits.store.blobs import get_blob_store


def queue(tmp_path: Path, *, rows: int = 10, unit_rows: int = 4, **fields: Any) -> Batch:
    path = write_npz(tmp_path / "data.npz", x=np.arange(rows * 3, dtype="f4").reshape(rows, 3), id=np.arange(rows))
    model = make_model([spec("x", "F32", (3,)), spec("id", "I64")], [output("y")])
    return make_batch(model, path, rows=rows, unit_rows=unit_rows, **fields)


@pytest.mark.django_db
def test_every_row_is_in_exactly_one_unit_and_the_last_unit_is_shorter(tmp_path):
    batch = queue(tmp_path, rows=10, unit_rows=4)
    assert split.split_batch(batch_id=batch.id, now=NOW)
    units = list(Unit.objects.filter(batch=batch).order_by("number"))
    assert [(unit.number, unit.row_start, unit.rows) for unit in units] == [(0, 0, 4), (1, 4, 4), (2, 8, 2)]
    assert {(unit.state, unit.needed, unit.urgent) for unit in units} == {("OPEN", 2, False)}


@pytest.mark.django_db
def test_the_batch_becomes_leasable_with_its_totals(tmp_path):
    batch = queue(tmp_path, quorum=3)
    split.split_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.started_at, batch.unit_rows, batch.units_total) == ("in_progress", NOW, 4, 3)
    assert BatchProgress.objects.get(batch=batch).units_open == 3
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), min(needed) FROM unit WHERE batch_id = %s", [batch.id])
        assert cursor.fetchone() == (3, 3)


@pytest.mark.django_db
def test_the_lane_is_the_partition_that_holds_the_units(tmp_path):
    batch = queue(tmp_path)
    split.split_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT tableoid::regclass::text FROM unit WHERE batch_id = %s", [batch.id])
        assert cursor.fetchall() == [(f"unit_{batch.lane}",)]


@pytest.mark.django_db
def test_the_reward_of_a_unit_is_its_rows_times_the_price(tmp_path):
    batch = queue(tmp_path, price=7)
    split.split_batch(batch_id=batch.id, now=NOW)
    rewards = Unit.objects.filter(batch=batch).order_by("number").values_list("reward_microcredits", flat=True)
    assert list(rewards) == [28, 28, 14]


@pytest.mark.django_db
def test_each_unit_is_the_document_that_safetensors_would_write_and_its_digest(tmp_path):
    batch = queue(tmp_path)
    split.split_batch(batch_id=batch.id, now=NOW)
    x, ids = np.arange(30, dtype="f4").reshape(10, 3), np.arange(10)
    for unit in Unit.objects.filter(batch=batch):
        shard = Shard.objects.get(batch=batch, number=unit.shard_number)
        document = get_blob_store().read(shard.blob_sha256, unit.byte_start, unit.byte_end)
        rows = slice(unit.row_start, unit.row_start + unit.rows)
        assert document == safetensors.numpy.save({"x": x[rows], "id": ids[rows]})
        assert bytes(unit.input_digest) == hashlib.sha256(document).digest()


@pytest.mark.django_db
def test_shards_hold_whole_units_back_to_back_and_have_blob_rows(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(split, "choose_shard_units", lambda *_: 2)
        batch = queue(tmp_path, rows=10, unit_rows=2)
        split.split_batch(batch_id=batch.id, now=NOW)
    shards = list(Shard.objects.filter(batch=batch).order_by("number"))
    assert [(shard.number, shard.row_start, shard.row_end) for shard in shards] == [(0, 0, 4), (1, 4, 8), (2, 8, 10)]
    for shard in shards:
        units = Unit.objects.filter(batch=batch, shard_number=shard.number).order_by("number")
        spans = [(unit.byte_start, unit.byte_end) for unit in units]
        assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
        assert spans[-1][1] == shard.size_bytes == Blob.objects.get(sha256=shard.blob_sha256).size_bytes


@pytest.mark.django_db
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 60), unit_rows=st.integers(1, 20), per_shard=st.integers(1, 5))
def test_the_units_of_any_cut_join_to_the_dataset(tmp_path, monkeypatch, rows, unit_rows, per_shard):
    monkeypatch.setattr(split, "choose_shard_units", lambda *_: per_shard)
    batch = queue(tmp_path, rows=rows, unit_rows=unit_rows)
    split.split_batch(batch_id=batch.id, now=NOW)
    blobs = {shard.number: shard.blob_sha256 for shard in Shard.objects.filter(batch=batch)}
    ids = [
        safetensors.numpy.load(get_blob_store().read(blobs[unit.shard_number], unit.byte_start, unit.byte_end))["id"]
        for unit in Unit.objects.filter(batch=batch).order_by("number")
    ]
    assert np.array_equal(np.concatenate(ids), np.arange(rows))


@pytest.mark.django_db
def test_splitting_again_changes_nothing(tmp_path):
    batch = queue(tmp_path)
    assert split.split_batch(batch_id=batch.id, now=NOW)
    before = list(Unit.objects.filter(batch=batch).order_by("number").values())
    assert not split.split_batch(batch_id=batch.id, now=NOW)
    assert list(Unit.objects.filter(batch=batch).order_by("number").values()) == before


@pytest.mark.django_db
def test_an_unknown_batch_is_nothing_to_do():
    assert not split.split_batch(batch_id=2**40, now=NOW)


@pytest.mark.django_db
def test_a_crash_while_publishing_leaves_nothing_and_the_next_run_finishes(tmp_path, monkeypatch):
    batch = queue(tmp_path)

    def crash(*args, **kwargs):
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr("workunits.store.shards.fetch_one", crash)  # after the units were copied
        with pytest.raises(ConnectionError):
            split.split_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, Unit.objects.filter(batch=batch).count(), Shard.objects.filter(batch=batch).count()) == (
        "queued", 0, 0,
    )  # fmt: skip
    assert split.split_batch(batch_id=batch.id, now=NOW)
    assert Unit.objects.filter(batch=batch).count() == 3


@pytest.mark.django_db
def test_a_dataset_that_breaks_off_fails_the_batch_and_leaves_nothing_to_lease(tmp_path):
    batch = queue(tmp_path, rows=10)
    path = write_npz(tmp_path / "short.npz", x=np.zeros((9, 3), "f4"), id=np.arange(9))
    batch.dataset.blob = Blob.objects.get_or_create(
        sha256=get_blob_store().put_file(path).sha256, defaults={"size_bytes": path.stat().st_size}
    )[0]
    batch.dataset.save()
    assert not split.split_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.outcome, batch.ended_at) == ("failed", "none", NOW)
    assert batch.status_reason == "The dataset has 9 rows, 10 were announced."
    assert not Unit.objects.filter(batch=batch).exists()


@pytest.mark.django_db
def test_a_missing_dataset_blob_fails_the_batch_with_the_reason(tmp_path):
    batch = queue(tmp_path)
    get_blob_store().delete(batch.dataset.blob_id)
    assert not split.split_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.status_reason) == ("failed", f"There is no blob {batch.dataset.blob_id}.")


@pytest.mark.django_db
def test_more_units_than_the_maximum_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(split, "UNITS_MAX", 2)
    batch = queue(tmp_path, rows=10, unit_rows=4)
    assert not split.split_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert batch.status_reason == "The batch would have 3 work units; at most 2 are allowed."


@pytest.mark.usefixtures("real_commits")
def test_of_eight_workers_at_once_one_splits(tmp_path):
    batch = queue(tmp_path, rows=200, unit_rows=1)
    results = []
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        try:
            results.append(split.split_batch(batch_id=batch.id, now=NOW))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
    assert Unit.objects.filter(batch=batch).count() == 200
    assert Batch.objects.get(id=batch.id).units_total == 200
