"""The output document is byte for byte what the safetensors library writes, whatever its tensors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from fleetclient.runner import checkpoints
from fleetclient.runner.blocks import BlockLog, Syncer
from fleetclient.runner.compute import DTYPES
from fleetclient.runner.document import lay_out
from fleetclient.wire import TensorSpec

FINGERPRINT = b"f" * 32
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
specs = st.lists(
    st.builds(
        TensorSpec,
        name=names,
        dtype=st.sampled_from(sorted(DTYPES)),
        shape=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda spec: spec.name,
)


def tensors_of(wanted: list[TensorSpec], rows: int) -> list[np.ndarray]:
    chance = np.random.default_rng(rows)
    return [
        chance.integers(0, 2 if spec.dtype == "BOOL" else 100, size=(rows, *spec.shape)).astype(DTYPES[spec.dtype])
        for spec in wanted
    ]


@settings(deadline=None, max_examples=60)
@given(wanted=specs, rows=st.integers(1, 9), batch=st.integers(1, 4), cut=st.integers(0, 3))
def test_blocks_put_together_are_the_librarys_document_also_after_an_interruption(
    tmp_path_factory, wanted, rows, batch, cut
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    outputs, layout, syncer = tensors_of(wanted, rows), lay_out(tuple(wanted), rows), Syncer()
    part, made = (os.open(folder / name, os.O_RDWR | os.O_CREAT) for name in ("u.part", "u.tmp"))
    log = BlockLog(part, fingerprint=FINGERPRINT, layout=layout, rows=rows, syncer=syncer)
    for number, start in enumerate(range(0, rows, batch)):
        if number == cut:
            log = BlockLog(part, fingerprint=FINGERPRINT, layout=layout, rows=rows, syncer=syncer)
            assert log.rows_done == start
        end = min(start + batch, rows)
        log._written_at = 0.0  # as if the batch had taken long
        assert log.append([output[start:end] for output in outputs], cpu_seconds=end / 2, is_last=end == rows)
    assert (log.rows_done, log.cpu_seconds) == (rows, rows / 2)
    assert checkpoints.rows_done(folder / "u.part") == rows
    log.copy_document(made, b"salt")
    expected = save({spec.name: np.ascontiguousarray(output) for spec, output in zip(wanted, outputs, strict=True)})
    assert (folder / "u.tmp").read_bytes() == expected
    assert layout.document_bytes == len(expected)
    os.close(part)
    os.close(made)


def test_short_batches_share_a_record_and_long_ones_have_their_own(tmp_path: Path) -> None:
    wanted = [TensorSpec(name="y", dtype="F32", shape=(2,))]
    part = os.open(tmp_path / "u.part", os.O_RDWR | os.O_CREAT)
    layout, rows = lay_out(tuple(wanted), 6), tensors_of(wanted, 6)[0]
    log = BlockLog(part, fingerprint=FINGERPRINT, layout=layout, rows=6, syncer=Syncer())
    log._written_at = float("inf")  # no time passes
    assert not log.append([rows[0:2]], cpu_seconds=1, is_last=False)
    assert checkpoints.rows_done(tmp_path / "u.part") == 0
    log._written_at = 0.0
    assert log.append([rows[2:4]], cpu_seconds=2, is_last=False)
    assert checkpoints.rows_done(tmp_path / "u.part") == 4
    assert log.append([rows[4:6]], cpu_seconds=3, is_last=True)
    assert [record.rows_done for record in checkpoints.walk(part)] == [4, 6]
    os.close(part)


def test_a_partial_output_that_is_none_has_no_rows(tmp_path: Path) -> None:
    assert checkpoints.rows_done(tmp_path / "missing") == 0
    (tmp_path / "other").write_bytes(b"not a partial output, and longer than a header of one would be" * 3)
    assert checkpoints.rows_done(tmp_path / "other") == 0
    (tmp_path / "empty").touch()
    assert checkpoints.rows_done(tmp_path / "empty") == 0


def test_what_the_disk_said_of_the_last_block_is_raised_at_the_next() -> None:
    syncer = Syncer()
    reading, writing = os.pipe()
    syncer.request(reading)  # a pipe cannot be forced to disk
    with pytest.raises(OSError, match="Invalid argument"):
        syncer.wait()
    syncer.wait()
    os.close(reading)
    os.close(writing)
