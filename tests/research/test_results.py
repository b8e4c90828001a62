"""`/progress`, `/units` and `/results` of a batch that cars work on, from its first lease to its end."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from tests.research.onnx_files import WEIGHTS

INPUT = np.arange(40, dtype=np.float32).reshape(10, 4)
EXPECTED = INPUT @ WEIGHTS


@pytest.fixture
def cut(caller, ordered, monkeypatch, settings):
    """The id of a batch of ten rows, quorum 1, cut into units of three."""
    from django.db import connection
    from django.utils import timezone

    from workunits.models import Batch
    from workunits.pipeline import dispatch
    from workunits.pipeline.split import split_batch
    from workunits.store.board import DispatchBoard

    monkeypatch.setattr(dispatch, "_board", lambda: DispatchBoard(0))
    settings.FLEET = dataclasses.replace(settings.FLEET, unit_rows_max=3)
    batch_id = caller.post("/batches", {**ordered, "quorum": 1}).json()["id"]
    batch = Batch.objects.get(public_id=batch_id)
    split_batch(batch_id=batch.pk, now=timezone.now())
    with connection.cursor() as cursor:
        # Cars get units in a secret order; these tests know which rows they have done.
        cursor.execute("UPDATE unit SET place = number")
    return batch_id


def work(batch_id: str, *, leases: int = 1) -> None:
    """Let one car lease so many units, report them rightly, and have them judged."""
    from django.utils import timezone

    from tests.engine.factories import Car, commit
    from workunits.models import Unit
    from workunits.pipeline.validate import validate_ready

    car, now = Car(memory_bytes=2**40), timezone.now()
    commitments = []
    for lease in car.lease(leases, at=now):
        unit = Unit.objects.get(batch__public_id=batch_id, number=lease.replica.ref.unit_number)
        rows = EXPECTED[unit.row_start : unit.row_start + unit.rows]
        commitments.append(commit(lease, output=save({"y": rows})))
    car.sync(commitments=commitments, at=now)
    validate_ready(now=now)


def assemble(batch_id: str) -> None:
    from django.utils import timezone

    from workunits.models import Batch
    from workunits.pipeline.assemble import assemble_batch

    assert assemble_batch(batch_id=Batch.objects.get(public_id=batch_id).pk, now=timezone.now())


def total_of_parts(counts: dict[str, int]) -> int:
    return sum(value for name, value in counts.items() if name != "total")


def test_nothing_decided_yet_is_said_so(caller, cut) -> None:
    answer = caller.get(f"/batches/{cut}/results")
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (409, "results_not_ready", True)


def test_counts_follow_the_work_and_always_sum(caller, cut) -> None:
    from django.utils import timezone

    from tests.engine.factories import Car

    Car(memory_bytes=2**40).lease(1, at=timezone.now())
    counts = caller.get(f"/batches/{cut}/progress").json()["counts"]
    assert (counts["running"], counts["pending"]) == (3, 7)
    assert total_of_parts(counts) == counts["total"] == 10


def test_a_finished_batch_gives_each_row_once_in_order(caller, cut) -> None:
    from workunits.models import Batch

    work(cut, leases=100)
    assert Batch.objects.get().status == "finalizing"
    partial = caller.get(f"/batches/{cut}/results")
    assert partial["Fleet-Result"] == "partial; rows=10"
    assert np.allclose(np.array(pq.read_table(io.BytesIO(partial.getvalue()))["y"].to_pylist()), EXPECTED)
    assemble(cut)
    body = caller.get(f"/batches/{cut}").json()
    assert (body["status"], body["outcome"], body["counts"]["succeeded"]) == ("completed", "full", 10)
    answer = caller.get(f"/batches/{cut}/results", {"format": "parquet"})
    assert (answer.status_code, answer["Fleet-Result"]) == (200, "complete")
    assert answer["Fleet-Rows"].endswith("provisional=0; revision=0")
    table = pq.read_table(io.BytesIO(answer.getvalue()))
    assert np.allclose(np.array(table["y"].to_pylist()), EXPECTED)
    npz = np.load(io.BytesIO(caller.get(f"/batches/{cut}/results", {"format": "npz"}).getvalue()))
    assert np.array_equal(npz["y"], EXPECTED)


def test_results_are_readable_while_the_batch_runs(caller, cut) -> None:
    work(cut, leases=2)
    answer = caller.get(f"/batches/{cut}/results", {"format": "npz"})
    assert (answer.status_code, answer["Fleet-Result"], answer["Retry-After"]) == (200, "partial; rows=6", "2")
    assert np.array_equal(np.load(io.BytesIO(answer.getvalue()))["y"], EXPECTED[:6])
    assert caller.get(f"/batches/{cut}/progress").json()["counts"] == {
        "total": 10, "pending": 4, "running": 0, "succeeded": 6, "failed": 0, "cancelled": 0, "expired": 0,
    }  # fmt: skip


def test_a_download_goes_on_where_it_broke(caller, cut) -> None:
    work(cut, leases=100)
    assemble(cut)
    path = f"/batches/{cut}/results"
    whole = caller.get(path)
    data = whole.getvalue()
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert whole["Content-Digest"] == whole["Repr-Digest"] == f"sha-256=:{digest}:"
    assert (whole["Accept-Ranges"], whole["Content-Length"]) == ("bytes", str(len(data)))
    part = caller.get(path, Range="bytes=10-19", If_Range=whole["ETag"])
    assert (part.status_code, part["Content-Range"]) == (206, f"bytes 10-19/{len(data)}")
    assert part.getvalue() == data[10:20]
    assert "Content-Digest" not in part
    assert caller.get(path, Range="bytes=-5").getvalue() == data[-5:]
    assert caller.get(path, Range="bytes=10-", If_Range='"other"').getvalue() == data
    assert caller.get(path, If_None_Match=whole["ETag"]).status_code == 304
    outside = caller.get(path, Range=f"bytes={len(data)}-")
    assert (outside.status_code, outside["Content-Range"]) == (416, f"bytes */{len(data)}")
    assert outside.json()["code"] == "range_not_satisfiable"


def test_units_are_listed_without_anybodys_identity(caller, cut) -> None:
    from workunits.models import Owner, Vehicle

    work(cut, leases=1)
    page = caller.get(f"/batches/{cut}/units", {"limit": 1}).json()
    unit = page["data"][0]
    assert (unit["number"], unit["row_start"], unit["state"]) == (0, 0, "VALIDATED")
    assert unit["replicas"] == {"VALID": 1}
    answer = caller.get(f"/batches/{cut}/units/0")
    detail = answer.json()
    assert [attempt["state"] for attempt in detail["history"]] == ["VALID"]
    assert Vehicle.objects.get().public_id not in answer.content.decode()
    assert Owner.objects.get().public_id not in answer.content.decode()
    assert not re.search("owner|vehicle|car", answer.content.decode())


def test_an_unknown_unit_or_cursor_is_refused(caller, cut) -> None:
    assert caller.get(f"/batches/{cut}/units/99999999999").json()["code"] == "unit_unknown"
    assert caller.get(f"/batches/{cut}/units", {"after": "x"}).json()["errors"][0]["pointer"] == "/after"


def test_an_unknown_format_is_refused(caller, cut) -> None:
    answer = caller.get(f"/batches/{cut}/results", {"format": "csv"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/format")


def test_a_batch_that_ended_without_a_row_has_no_results(caller, cut) -> None:
    from django.utils import timezone

    from workunits.models import Batch

    Batch.objects.update(status="cancelled", outcome="none", ended_at=timezone.now())
    answer = caller.get(f"/batches/{cut}/results")
    assert (answer.status_code, answer.json()["code"]) == (404, "results_unavailable")


def test_files_that_held_rows_taken_back_are_written_anew_and_the_researcher_is_told(
    caller, ordered, monkeypatch, settings
) -> None:
    from django.db import connection
    from django.utils import timezone

    from tests.engine.audit_rows import finish_run
    from tests.engine.factories import Car, commit
    from workunits.models import Batch
    from workunits.pipeline import dispatch, draws
    from workunits.pipeline.resolve import resolve_anchor_runs
    from workunits.pipeline.revoke import apply_revocations, settle_failures
    from workunits.pipeline.split import split_batch
    from workunits.pipeline.validate import validate_ready
    from workunits.store.board import DispatchBoard

    monkeypatch.setattr(dispatch, "_board", lambda: DispatchBoard(0))
    monkeypatch.setattr(draws, "draw_place", lambda: 0)
    settings.FLEET = dataclasses.replace(settings.FLEET, unit_rows_max=5)
    order = {**ordered, "verification": {"level": "standard"}, "finality": "provisional"}
    batch_id, now = caller.post("/batches", order).json()["id"], timezone.now()
    batch = Batch.objects.get(public_id=batch_id)
    split_batch(batch_id=batch.pk, now=now)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE unit SET place = number")
    right = {number: save({"y": EXPECTED[5 * number : 5 * number + 5]}) for number in range(2)}

    def run_all(lie: float) -> None:
        car = Car(memory_bytes=2**40)
        leases = car.lease(4, at=now)
        outputs = {lease.token: np.array(EXPECTED[5 * lease.replica.ref.unit_number :][:5]) + lie for lease in leases}
        car.sync(commitments=[commit(lease, output=save({"y": outputs[lease.token]})) for lease in leases], at=now)
        validate_ready(now=now)

    run_all(lie=100.0)
    assemble(batch_id)
    wrong = caller.get(f"/batches/{batch_id}/results")
    assert (wrong["Fleet-Result"], wrong["Fleet-Rows"]) == ("complete", "final=0; provisional=10; revision=0")

    finish_run(batch, output=right[0], unit=0)
    resolve_anchor_runs(now=now)
    settle_failures(now=now)
    apply_revocations(now=now)
    body = caller.get(f"/batches/{batch_id}").json()
    assert (body["status"], body["outcome"], body["result_revision"]) == ("in_progress", None, 1)
    assert [notice["code"] for notice in body["notices"]] == ["rows_revoked"]
    assert "files will be written anew" in body["notices"][0]["text"]
    assert body["verification"]["rows"]["revoked"] == 10
    # The wrong file is not served any more, whoever asks for the rest of it.
    again = caller.get(f"/batches/{batch_id}/results", Range="bytes=10-", If_Range=wrong["ETag"])
    assert again.status_code != 206
    validate_ready(now=now)
    run_all(lie=0.0)
    assemble(batch_id)
    mended = caller.get(f"/batches/{batch_id}/results", If_None_Match=wrong["ETag"])
    assert (mended.status_code, mended["Fleet-Result"]) == (200, "complete")
    assert mended["Fleet-Rows"].endswith("revision=1")
    assert np.allclose(np.array(pq.read_table(io.BytesIO(mended.getvalue()))["y"].to_pylist()), EXPECTED)
