"""From units' outputs to rows: each once, in order, whatever the units' sizes."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from workunits.domain import assembly
from workunits.domain.assembly import RowsNotOnce, RowStatus, Segment, check_rows, choose_outcome, gather_blocks
from workunits.domain.splitting import plan_units
from workunits.domain.states import BatchOutcome
from workunits.domain.types import TensorSpec

OUTPUTS = (TensorSpec(name="y", dtype="F32", shape=(2,)), TensorSpec(name="label", dtype="I64", shape=()))


def segment(row_start: int, rows: int, status: RowStatus = RowStatus.OK) -> Segment:
    """Return a unit whose outputs tell the row they belong to."""
    numbers = np.arange(row_start, row_start + rows)
    tensors = {"y": np.stack([numbers, -numbers], axis=1).astype("f4"), "label": numbers}
    document = bytes(safetensors.numpy.save(tensors)) if status is RowStatus.OK else None
    return Segment(row_start, rows, status, document)


@given(
    rows_total=st.integers(1, 400),
    unit_rows=st.integers(1, 50),
    block_rows=st.integers(1, 60),
    data=st.data(),
)
def test_every_row_is_there_once_in_order_with_its_own_output(rows_total, unit_rows, block_rows, data):
    units = list(plan_units(rows_total, unit_rows))
    statuses = data.draw(st.lists(st.sampled_from(list(RowStatus)), min_size=len(units), max_size=len(units)))
    segments = [segment(unit.row_start, unit.rows, status) for unit, status in zip(units, statuses, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "BLOCK_ROWS_MAX", block_rows)
        blocks = list(gather_blocks(check_rows(segments, rows_total), OUTPUTS))
    rows = np.concatenate([block.row_numbers for block in blocks])
    is_ok = np.concatenate([block.is_ok for block in blocks])
    labels = np.concatenate([block.tensors["label"] for block in blocks])
    values = np.concatenate([block.tensors["y"] for block in blocks])
    assert np.array_equal(rows, np.arange(rows_total))
    assert np.array_equal(labels, np.where(is_ok, rows, 0))
    assert np.array_equal(values[:, 1], np.where(is_ok, -rows, 0))
    expected = [status for unit, status in zip(units, statuses, strict=True) for _ in range(unit.rows)]
    assert [status for block in blocks for status in block.statuses] == expected
    assert is_ok.tolist() == [status is RowStatus.OK for status in expected]
    assert all(len(block.row_numbers) <= max(block_rows, unit_rows) for block in blocks)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([(0, 4), (5, 5)], "A unit starts at row 5, expected 4."),
        ([(0, 4), (3, 7)], "A unit starts at row 3, expected 4."),
        ([(1, 9)], "A unit starts at row 1, expected 0."),
        ([(0, 4), (0, 4)], "A unit starts at row 0, expected 4."),
        ([(0, 9)], "The units end at row 9 of 10."),
        ([(0, 11)], "The units end at row 11 of 10."),
        ([], "The units end at row 0 of 10."),
    ],
)
def test_a_missing_or_repeated_row_is_refused(starts, message):
    with pytest.raises(RowsNotOnce) as refusal:
        list(check_rows([segment(start, rows, RowStatus.FAILED) for start, rows in starts], 10))
    assert refusal.value.detail == message


def test_the_outcome_says_how_much_was_delivered():
    assert choose_outcome(10, 10) is BatchOutcome.FULL
    assert choose_outcome(10, 1) is BatchOutcome.PARTIAL
    assert choose_outcome(10, 0) is BatchOutcome.NONE


def test_an_output_called_like_one_of_our_columns_is_renamed():
    outputs = [TensorSpec(name=name, dtype="F32", shape=()) for name in ("row", "y", "status", "status_")]
    assert assembly.name_columns(outputs) == {"row": "row_", "y": "y", "status": "status__", "status_": "status_"}
