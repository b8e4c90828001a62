"""Assembling on a real database: result files with each input row exactly once, and how a batch ends."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from django.db import connection

from tests.data.scenes import NOW, make_batch, make_model, output, spec, write_npz
from workunits.models import Batch, BatchProgress, Blob, Owner, Unit, User, Vehicle
from workunits.pipeline.assemble import ResultUnknown, assemble_batch, write_partial_result
from workunits.pipeline.recover import find_leftovers
from workunits.pipeline.split import split_batch
from workunits.sql import load_sql
from workunits.store import results
from workunits.store.blobs import get_blob_store

OUTPUTS = [
    output("y", "F32", (2, 2)),
    output("score", "F32"),
    output("label", "I64"),
    spec("seen", "BOOL", (), comparator="exact", tolerance=0),
    output("half", "F16", (3,)),
]


def expected(numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of these rows: they tell the row they belong to."""
    return {
        "y": (numbers[:, None, None] + np.arange(4).reshape(2, 2)).astype("f4"),
        "score": (numbers / 2).astype("f4"),
        "label": numbers,
        "seen": numbers % 2 == 0,
        "half": np.repeat(numbers[:, None], 3, axis=1).astype("f2"),
    }


def start(tmp_path: Path, *, rows: int = 10, unit_rows: int = 4) -> Batch:
    """Return a batch in progress."""
    path = write_npz(tmp_path / "data.npz", x=np.zeros(rows, "f4"))
    batch = make_batch(make_model([spec("x")], OUTPUTS), path, rows=rows, unit_rows=unit_rows)
    assert split_batch(batch_id=batch.id, now=NOW)
    return batch


def make_owner() -> int:
    user = User.objects.create(username=f"owner-{User.objects.count()}")
    owner = Owner.objects.create(user=user, display_name="o")
    Vehicle.objects.create(owner=owner, name="car", public_key=hashlib.sha256(bytes([owner.id % 256])).digest())
    return owner.id


def decide(batch: Batch, number: int, *, state: str = "VALIDATED", is_blob: bool = False) -> None:
    """Give a unit its verdict, with a canonical output where it is validated."""
    unit = Unit.objects.get(batch=batch, number=number)
    owner = make_owner() if state == "VALIDATED" else None
    with connection.cursor() as cursor:
        if owner is not None:
            document = safetensors.numpy.save(expected(np.arange(unit.row_start, unit.row_start + unit.rows)))
            blob = get_blob_store().put_bytes(document).sha256 if is_blob else None
            cursor.execute(
                "INSERT INTO replica (batch_id, unit_number, owner_id, rows, vehicle_id, state, leased_at, deadline_at,"
                " committed_at, reported_at, ended_at, commitment, output_digest, output, output_blob)"
                " VALUES (%s, %s, %s, %s, 1, 'VALID', %s, %s::timestamptz + '1 hour', %s, %s, %s, '', '', %s, %s)",
                [batch.id, number, owner, unit.rows, NOW, NOW, NOW, NOW, NOW, None if is_blob else document, blob],
            )
        cursor.execute(
            "UPDATE unit SET state = %s, needed = 0, decided_at = %s, canonical_owner_id = %s, reason = 'because'"
            " WHERE batch_id = %s AND number = %s",
            [state, NOW, owner, batch.id, number],
        )


def finalize(batch: Batch) -> None:
    Batch.objects.filter(id=batch.id).update(status="finalizing", finalizing_at=NOW)
    BatchProgress.objects.filter(batch=batch).update(units_open=0)


def open_parquet(batch: Batch) -> Any:
    return pq.read_table(io.BytesIO(get_blob_store().read(batch.result_parquet)))


def open_npz(batch: Batch) -> Any:
    return np.load(io.BytesIO(get_blob_store().read(batch.result_npz)), allow_pickle=False)


@pytest.mark.django_db
def test_a_full_result_has_each_row_once_in_input_order(tmp_path):
    batch = start(tmp_path)
    for number in (2, 0, 1):
        decide(batch, number, is_blob=number == 1)
    finalize(batch)
    assert assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.outcome, batch.ended_at) == ("completed", "full", NOW)
    table, wanted = open_parquet(batch), expected(np.arange(10))
    assert table.column_names == ["row", "status", "y", "score", "label", "seen", "half"]
    assert table["row"].to_pylist() == list(range(10))
    assert set(table["status"].to_pylist()) == {"ok"}
    with open_npz(batch) as arrays:
        assert arrays["row"].tolist() == list(range(10))
        assert arrays["row_ok"].all()
        for name, values in wanted.items():
            assert np.array_equal(np.array(table[name].to_pylist()), values)
            assert np.array_equal(arrays[name], values)
            assert arrays[name].dtype == values.dtype


@pytest.mark.django_db
def test_outputs_are_scalars_or_fixed_size_lists(tmp_path):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number)
    finalize(batch)
    assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    types = {field.name: str(field.type) for field in open_parquet(batch).schema}
    assert types == {
        "row": "int64",
        "status": "string",
        "y": "fixed_size_list<element: fixed_size_list<element: float>[2]>[2]",
        "score": "float",
        "label": "int64",
        "seen": "bool",
        "half": "fixed_size_list<element: halffloat>[3]",
    }


@pytest.mark.django_db
def test_rows_of_failed_and_cancelled_units_are_null_and_say_so(tmp_path):
    batch = start(tmp_path)
    decide(batch, 0, state="FAILED")
    decide(batch, 1)
    decide(batch, 2, state="CANCELLED")
    finalize(batch)
    assert assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.outcome) == ("completed", "partial")
    table = open_parquet(batch)
    assert table["row"].to_pylist() == list(range(10))
    assert table["status"].to_pylist() == ["failed"] * 4 + ["ok"] * 4 + ["cancelled"] * 2
    for name, values in expected(np.arange(10)).items():
        assert table[name].to_pylist() == [None] * 4 + values.tolist()[4:8] + [None] * 2
    with open_npz(batch) as arrays:
        assert arrays["row_ok"].tolist() == [False] * 4 + [True] * 4 + [False] * 2
        assert np.isnan(arrays["y"][:4]).all()
        assert np.isnan(arrays["half"][8:]).all()
        assert arrays["label"].tolist() == [0, 0, 0, 0, 4, 5, 6, 7, 0, 0]


@pytest.mark.django_db
def test_a_batch_without_a_single_result_completes_with_outcome_none(tmp_path):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number, state="FAILED")
    finalize(batch)
    assert assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.outcome) == ("completed", "none")
    assert set(open_parquet(batch)["status"].to_pylist()) == {"failed"}


@pytest.mark.django_db
def test_validated_units_become_assembled_and_failed_ones_stay(tmp_path):
    batch = start(tmp_path)
    decide(batch, 0)
    decide(batch, 1, state="FAILED")
    decide(batch, 2)
    finalize(batch)
    assemble_batch(batch_id=batch.id, now=NOW)
    states = Unit.objects.filter(batch=batch).order_by("number").values_list("state", flat=True)
    assert list(states) == ["ASSEMBLED", "FAILED", "ASSEMBLED"]


@pytest.mark.django_db
def test_the_result_blobs_have_their_rows_and_pages_do_not_show(tmp_path, monkeypatch):
    batch = start(tmp_path, rows=50, unit_rows=1)
    for number in range(50):
        decide(batch, number)
    finalize(batch)
    monkeypatch.setattr(results, "UNITS_PER_PAGE", 7)
    assert assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert open_parquet(batch)["label"].to_pylist() == list(range(50))
    for sha256 in (batch.result_parquet, batch.result_npz):
        assert Blob.objects.get(sha256=sha256).size_bytes == get_blob_store().size(sha256)


@pytest.mark.django_db
def test_assembling_again_changes_nothing_and_the_same_rows_give_the_same_bytes(tmp_path):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number)
    finalize(batch)
    assert assemble_batch(batch_id=batch.id, now=NOW)
    assert not assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    first = (batch.result_parquet, batch.result_npz)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE unit SET state = 'VALIDATED' WHERE batch_id = %s", [batch.id])
    Batch.objects.filter(id=batch.id).update(status="finalizing", outcome=None, ended_at=None)
    assert assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.result_parquet, batch.result_npz) == first


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["in_progress", "paused", "queued"])
def test_only_a_finalizing_batch_is_assembled(tmp_path, status):
    batch = start(tmp_path)
    Batch.objects.filter(id=batch.id).update(status=status)
    assert not assemble_batch(batch_id=batch.id, now=NOW)
    assert not assemble_batch(batch_id=2**40, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.result_parquet) == (status, "")


@pytest.mark.django_db
def test_a_batch_with_an_open_unit_is_not_finished_and_says_why(tmp_path):
    batch = start(tmp_path)
    decide(batch, 0)
    decide(batch, 2)
    finalize(batch)
    assert not assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.status_reason) == ("finalizing", "A unit starts at row 8, expected 4.")
    assert Unit.objects.get(batch=batch, number=0).state == "VALIDATED"


@pytest.mark.django_db
def test_a_lost_output_blob_leaves_the_batch_finalizing_and_says_why(tmp_path):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number, is_blob=True)
    finalize(batch)
    with connection.cursor() as cursor:
        cursor.execute("SELECT output_blob FROM replica WHERE batch_id = %s AND unit_number = 1", [batch.id])
        blob = cursor.fetchone()[0]
    get_blob_store().delete(blob)
    assert not assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.status_reason) == ("finalizing", f"There is no blob {blob}.")


@pytest.mark.django_db
def test_a_unit_that_changes_while_the_files_are_written_stops_the_completion(tmp_path, monkeypatch):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number)
    finalize(batch)
    written = results.finish_assembly

    def revoke_then_finish(*args: Any, **kwargs: Any) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE unit SET state = 'OPEN', canonical_owner_id = NULL, decided_at = NULL"
                " WHERE batch_id = %s AND number = 1", [batch.id],
            )  # fmt: skip
        return written(*args, **kwargs)

    monkeypatch.setattr("workunits.pipeline.assemble.finish_assembly", revoke_then_finish)
    assert not assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.result_parquet) == ("finalizing", "")
    assert Unit.objects.get(batch=batch, number=0).state == "VALIDATED"


@pytest.mark.django_db
@pytest.mark.parametrize("file_format", ["parquet", "npz"])
def test_a_partial_result_has_the_rows_decided_so_far(tmp_path, file_format):
    batch = start(tmp_path)
    decide(batch, 0)
    decide(batch, 2, state="FAILED")
    path = tmp_path / "partial"
    assert write_partial_result(batch_id=batch.id, format=file_format, path=path) == 6
    if file_format == "parquet":
        table = pq.read_table(path)
        assert table["row"].to_pylist() == [0, 1, 2, 3, 8, 9]
        assert table["label"].to_pylist() == [0, 1, 2, 3, None, None]
    else:
        with np.load(path) as arrays:
            assert arrays["row"].tolist() == [0, 1, 2, 3, 8, 9]
            assert arrays["row_ok"].tolist() == [True] * 4 + [False] * 2


@pytest.mark.django_db
@pytest.mark.parametrize("file_format", ["parquet", "npz"])
def test_a_partial_result_before_the_first_verdict_is_an_empty_table(tmp_path, file_format):
    batch = start(tmp_path)
    path = tmp_path / "partial"
    assert write_partial_result(batch_id=batch.id, format=file_format, path=path) == 0
    if file_format == "parquet":
        assert pq.read_table(path).num_rows == 0
    else:
        with np.load(path) as arrays:
            assert arrays["y"].shape == (0, 2, 2)


@pytest.mark.django_db
def test_a_partial_result_of_an_unknown_batch_or_format_is_refused(tmp_path):
    batch = start(tmp_path)
    for batch_id, file_format in ((2**40, "npz"), (batch.id, "csv")):
        with pytest.raises(ResultUnknown):
            write_partial_result(batch_id=batch_id, format=file_format, path=tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.django_db
def test_a_page_of_units_is_read_by_index_probes(tmp_path):
    batch = start(tmp_path, rows=3000, unit_rows=1)
    with connection.cursor() as cursor:
        # An empty lane is read in full whatever its indexes; a full one must not be.
        cursor.execute(
            "INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at)"
            " SELECT %s, number, 1, 1, rows, now(), now() + interval '1 hour' FROM unit WHERE batch_id = %s",
            [batch.id, batch.id],
        )
        cursor.execute("ANALYZE unit, replica")
        cursor.execute(
            f"EXPLAIN (COSTS OFF) {load_sql('assemble_read_units')}",
            {"batch_id": batch.id, "after": 100, "units_max": 10},
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert f"unit_{Batch.objects.get(id=batch.id).lane}_pkey" in plan
    assert "replica_" in plan
    assert "Seq Scan" not in plan


@pytest.mark.usefixtures("real_commits")
def test_of_four_workers_at_once_one_assembles(tmp_path):
    batch = start(tmp_path, rows=40, unit_rows=1)
    for number in range(40):
        decide(batch, number, state="FAILED")
    finalize(batch)
    barrier, done = threading.Barrier(4), []

    def work() -> None:
        barrier.wait()
        try:
            done.append(assemble_batch(batch_id=batch.id, now=NOW))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, False, False, True]


def audited(batch: Batch, *, final: int, finality: str = "final") -> None:
    """Let the batch have audits, with so many of its validated rows final."""
    Batch.objects.filter(id=batch.id).update(level="standard", finality=finality)
    BatchProgress.objects.filter(batch=batch).update(rows_validated=batch.rows_total, rows_final=final)


@pytest.mark.django_db
def test_a_batch_waits_for_its_last_provisional_row(tmp_path):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number)
    finalize(batch)
    audited(batch, final=9)
    assert find_leftovers(now=NOW).to_assemble == []
    assert not assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.status_reason, batch.result_parquet) == ("finalizing", "", "")
    audited(batch, final=10)
    assert find_leftovers(now=NOW).to_assemble == [batch.id]
    assert assemble_batch(batch_id=batch.id, now=NOW)


@pytest.mark.django_db
def test_a_batch_whose_researcher_takes_provisional_rows_is_completed_at_once(tmp_path):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number)
    finalize(batch)
    audited(batch, final=0, finality="provisional")
    assert find_leftovers(now=NOW).to_assemble == [batch.id]
    assert assemble_batch(batch_id=batch.id, now=NOW)
    assert set(open_parquet(Batch.objects.get(id=batch.id))["status"].to_pylist()) == {"ok"}


@pytest.mark.django_db
def test_a_row_that_turns_provisional_while_the_files_are_written_stops_the_completion(tmp_path, monkeypatch):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number)
    finalize(batch)
    audited(batch, final=10)
    written = results.finish_assembly

    def revoke_then_finish(*args: Any, **kwargs: Any) -> bool:
        audited(batch, final=6)
        return written(*args, **kwargs)

    monkeypatch.setattr("workunits.pipeline.assemble.finish_assembly", revoke_then_finish)
    assert not assemble_batch(batch_id=batch.id, now=NOW)
    assert Batch.objects.get(id=batch.id).status == "finalizing"
    assert set(Unit.objects.filter(batch=batch).values_list("state", flat=True)) == {"VALIDATED"}


@pytest.mark.django_db
def test_another_output_that_takes_a_units_place_while_the_files_are_written_stops_the_completion(
    tmp_path, monkeypatch
):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number)
    finalize(batch)
    written = results.finish_assembly

    def adopt_then_finish(*args: Any, **kwargs: Any) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE unit SET canonical_owner_id = 0 WHERE batch_id = %s AND number = 1", [batch.id])
        return written(*args, **kwargs)

    monkeypatch.setattr("workunits.pipeline.assemble.finish_assembly", adopt_then_finish)
    assert not assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.result_parquet) == ("finalizing", "")
    assert batch.status_reason == "Other outputs are the results of some units now."


@pytest.mark.django_db
def test_a_batch_that_was_opened_again_is_assembled_anew_with_the_units_it_had(tmp_path):
    batch = start(tmp_path)
    for number in range(3):
        decide(batch, number)
    finalize(batch)
    assert assemble_batch(batch_id=batch.id, now=NOW)
    first = Batch.objects.get(id=batch.id).result_parquet
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE unit SET state = 'OPEN', canonical_owner_id = NULL, decided_at = NULL"
            " WHERE batch_id = %s AND number = 1", [batch.id],
        )  # fmt: skip
    decide(batch, 1)
    Batch.objects.filter(id=batch.id).update(
        status="finalizing", outcome=None, ended_at=None, result_parquet="", result_npz=""
    )
    assert assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.outcome, batch.result_parquet) == ("completed", "full", first)
    assert set(Unit.objects.filter(batch=batch).values_list("state", flat=True)) == {"ASSEMBLED"}
