"""Datasets in Parquet and NPZ: what is found in them, how rows come out, and what is refused with its place."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.scenes import write_npz, write_parquet
from workunits.domain.types import TensorSpec
from workunits.store.datasets import DatasetRefused, iter_row_blocks, read_dataset_facts

# In a process of its own, which starts small.
READ_ALL = """
import sys
from pathlib import Path
import psutil
from workunits.domain.types import TensorSpec
from workunits.store.datasets import iter_row_blocks
memory = psutil.Process().memory_info
before, peak, count = memory().rss, 0, 0
columns = [TensorSpec(name="x", dtype="F32", shape=(64,))]
for block in iter_row_blocks(Path(sys.argv[1]), sys.argv[2], columns, 4096):
    count += len(block["x"])
    peak = max(peak, memory().rss)
print((peak - before) // 2**20, count)
"""


def column(name: str, dtype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def read(path: Path, *columns: TensorSpec, rows_per_block: int = 4) -> dict[str, np.ndarray]:
    """Return all rows, after checking that every block but the last is full."""
    blocks = list(iter_row_blocks(path, path.suffix[1:], columns, rows_per_block))
    sizes = [len(block[columns[0].name]) for block in blocks]
    assert all(size == rows_per_block for size in sizes[:-1])
    assert 0 < sizes[-1] <= rows_per_block
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def facts(path: Path) -> Any:
    return read_dataset_facts(path, path.suffix[1:])


def refusal(path: Path, *columns: TensorSpec) -> DatasetRefused:
    with pytest.raises(DatasetRefused) as raised:
        read(path, *columns)
    return raised.value


def parquet(tmp_path: Path, **arrays: Any) -> Path:
    return write_parquet(tmp_path / "data.parquet", pa.table(arrays), row_group_size=3)


@pytest.mark.parametrize(
    ("type_", "dtype"),
    [
        (pa.float64(), "F64"), (pa.float32(), "F32"), (pa.float16(), "F16"), (pa.int64(), "I64"), (pa.int32(), "I32"),
        (pa.int16(), "I16"), (pa.int8(), "I8"), (pa.uint8(), "U8"), (pa.uint16(), "I32"), (pa.uint32(), "I64"),
        (pa.bool_(), "BOOL"),
    ],
)  # fmt: skip
def test_parquet_scalars_of_each_type_come_out_as_they_are(tmp_path, type_, dtype):
    values = np.array([0, 1, 1, 0, 1, 0, 1])
    path = parquet(tmp_path, x=pa.array(values).cast(pa.int8()).cast(type_))
    assert facts(path).columns == [column("x", dtype)]
    assert np.array_equal(read(path, column("x", dtype))["x"], values)


def test_parquet_lists_of_one_length_are_tensors_whether_declared_fixed_or_not(tmp_path):
    values = np.arange(7 * 6, dtype="f4").reshape(7, 2, 3)
    nested = values.tolist()
    path = parquet(
        tmp_path,
        declared=pa.array(nested, pa.list_(pa.list_(pa.float32(), 3), 2)),
        plain=pa.array(nested, pa.list_(pa.list_(pa.float32()))),
        mixed=pa.array(nested, pa.list_(pa.large_list(pa.float32()), 2)),
    )
    columns = [column(name, "F32", 2, 3) for name in ("declared", "plain", "mixed")]
    assert facts(path).columns == columns
    found = read(path, *columns)
    assert all(np.array_equal(found[name], values) for name in found)


def test_parquet_tensor_columns_keep_their_shape(tmp_path):
    values = np.arange(5 * 4, dtype="f4").reshape(5, 2, 2)
    path = parquet(tmp_path, x=pa.FixedShapeTensorArray.from_numpy_ndarray(values))
    assert facts(path).columns == [column("x", "F32", 2, 2)]
    assert np.array_equal(read(path, column("x", "F32", 2, 2))["x"], values)


def test_columns_that_no_model_can_take_are_listed_with_the_reason(tmp_path):
    path = parquet(
        tmp_path,
        x=[1.0, 2.0],
        title=["a", "b"],
        gap=pa.array([1.0, None]),
        ragged=pa.array([[1], [1, 2]]),
        empty=pa.array([[], []], pa.list_(pa.int64())),
    )
    found = facts(path)
    assert (found.rows, found.columns) == (2, [column("x", "F64")])
    assert found.unusable == {
        "title": "string is not a numeric type of fixed shape.",
        "gap": "Column 'gap', row 1: it is null.",
        "ragged": "Column 'ragged', row 1: its length is 2, in the rows before it is 1.",
        "empty": "its lists are empty.",
    }


def test_a_null_is_refused_with_its_row_across_row_groups(tmp_path):
    path = parquet(tmp_path, x=pa.array([*range(10), None, 11]))
    error = refusal(path, column("x", "I64"))
    assert (error.column, error.row, error.detail) == ("x", 10, "Column 'x', row 10: it is null.")


def test_a_null_inside_a_list_is_refused_with_the_row_it_is_in(tmp_path):
    path = parquet(tmp_path, x=pa.array([[[1, 2], [3, 4]]] * 5 + [[[1, 2], [3, None]]]))
    assert refusal(path, column("x", "I64", 2, 2)).detail == "Column 'x', row 5: it holds a null."


def test_a_row_of_another_length_in_a_later_block_is_refused_with_its_row(tmp_path):
    path = parquet(tmp_path, x=pa.array([[1.0, 2.0]] * 8 + [[1.0]] * 4))
    error = refusal(path, column("x", "F64", 2))
    assert error.column == "x"
    assert error.row == 8


def test_nan_is_a_number_here(tmp_path):
    path = parquet(tmp_path, x=[1.0, float("nan"), 3.0])
    assert np.array_equal(read(path, column("x", "F64"))["x"], [1, np.nan, 3], equal_nan=True)


def test_values_are_converted_where_nothing_but_float_precision_is_lost(tmp_path):
    path = parquet(tmp_path, x=[0.1, 2.5, -3.0], n=[1, -2, 3], flat=[[1, 2, 3, 4]] * 3)
    found = read(path, column("x", "F32", 1), column("n", "I32"), column("flat", "I8", 1, 2, 2))
    assert found["x"].dtype == np.float32
    assert found["x"].tolist() == [[np.float32(0.1)], [2.5], [-3.0]]
    assert found["n"].dtype == np.int32
    assert found["n"].tolist() == [1, -2, 3]
    assert found["flat"].shape == (3, 1, 2, 2)


@pytest.mark.parametrize(
    ("values", "wanted"), [([1] * 5 + [2**31], column("x", "I32")), ([0.5] * 5 + [1e300], column("x", "F32"))]
)
def test_a_value_that_does_not_fit_is_refused_with_its_row(tmp_path, values, wanted):
    error = refusal(parquet(tmp_path, x=values), wanted)
    assert error.detail == f"Column 'x', row 5: a value does not fit into {wanted.dtype}."


def test_a_column_that_is_missing_or_of_another_kind_is_refused(tmp_path):
    path = parquet(tmp_path, x=[1, 2], title=["a", "b"])
    assert refusal(path, column("y", "F32")).detail == "The model needs a column 'y'; the usable columns are: x."
    assert refusal(path, column("x", "F32")).detail == "Column 'x' is I64, the model needs F32."
    assert refusal(path, column("title", "I64")).detail == (
        "Column 'title' cannot be used: string is not a numeric type of fixed shape."
    )


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(DatasetRefused, match="two columns called 'x'"):
        facts(write_parquet(tmp_path / "data.parquet", table))


@pytest.mark.parametrize("file_format", ["parquet", "npz"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"PK\x03\x04" + b"x" * 100, b"\0" * 1000])
def test_bytes_that_are_no_dataset_are_refused(tmp_path, file_format, content):
    path = tmp_path / f"data.{file_format}"
    path.write_bytes(content)
    with pytest.raises(DatasetRefused, match="cannot be read"):
        facts(path)


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("file_format", ["parquet", "npz"])
def test_a_damaged_file_is_refused_or_reads_as_something_but_never_crashes(tmp_path, file_format, position):
    values = np.arange(5000, dtype="f8")
    path = tmp_path / f"data.{file_format}"
    write_npz(path, x=values) if file_format == "npz" else pq.write_table(pa.table({"x": values}), path)
    data = bytearray(path.read_bytes())
    middle = int(len(data) * position)
    data[middle : middle + 50] = b"\xff" * 50
    path.write_bytes(data)
    try:
        facts(path)
    except DatasetRefused:
        return
    assert file_format == "parquet"  # plain pages have no checksum; a zip does


def test_a_dataset_without_rows_is_refused(tmp_path):
    with pytest.raises(DatasetRefused, match="The dataset has no rows"):
        facts(parquet(tmp_path, x=pa.array([], pa.float32())))
    with pytest.raises(DatasetRefused, match="The dataset has no rows"):
        facts(write_npz(tmp_path / "data.npz", x=np.zeros((0, 3))))


def test_a_dataset_that_no_model_can_use_is_refused_with_the_reasons(tmp_path):
    with pytest.raises(DatasetRefused) as raised:
        facts(parquet(tmp_path, title=["a"]))
    assert raised.value.detail == ("No column can feed a model. title: string is not a numeric type of fixed shape.")


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(DatasetRefused, match="'csv' is not known"):
        read_dataset_facts(tmp_path / "x.csv", "csv")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_arrays_come_out_as_they_are(tmp_path, save):
    arrays = {
        "c_order": np.arange(11 * 6, dtype="f4").reshape(11, 2, 3),
        "fortran": np.asfortranarray(np.arange(11 * 6, dtype="f4").reshape(11, 2, 3)),
        "big_endian": np.arange(11).astype(">i4"),
        "unsigned": np.arange(11).astype("u2"),
        "flag": np.arange(11) % 2 == 0,
    }
    save(tmp_path / "data.npz", **arrays)
    path = tmp_path / "data.npz"
    columns = [
        column("c_order", "F32", 2, 3), column("fortran", "F32", 2, 3), column("big_endian", "I32"),
        column("unsigned", "I32"), column("flag", "BOOL"),
    ]  # fmt: skip
    assert facts(path).columns == columns
    found = read(path, *columns)
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_npz_members_that_no_model_can_take_are_listed_and_pickles_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "opened",))

    path = write_npz(
        tmp_path / "data.npz",
        x=np.arange(2),
        name=np.array(["a", "b"]),
        trap=np.array([Trap(), Trap()]),
        scalar=np.array(1.0),
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "hello")
    assert facts(path).unusable == {
        "name": "<U1 is not a numeric type we take.",
        "trap": "it holds Python objects.",
        "scalar": "its shape is (): there are no rows to take.",
        "notes.txt": "it is not an array.",
    }
    assert not (tmp_path / "opened").exists()


def test_npz_arrays_of_different_lengths_are_refused(tmp_path):
    with pytest.raises(DatasetRefused, match=r"differ in their number of rows: x 2, y 3\."):
        facts(write_npz(tmp_path / "data.npz", x=np.zeros(2), y=np.zeros(3)))


def test_an_npz_array_shorter_than_its_header_says_is_refused(tmp_path):
    path = write_npz(tmp_path / "whole.npz", x=np.zeros(100))
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "data.npz", "w") as cut:
        cut.writestr("x.npy", archive.read("x.npy")[:-8])
    with pytest.raises(DatasetRefused, match="not as long as its header says"):
        facts(tmp_path / "data.npz")


def test_a_small_file_that_claims_a_huge_dataset_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("workunits.store.datasets.UNPACKED_BYTES_MAX", 7_999)
    np.savez_compressed(tmp_path / "data.npz", x=np.zeros(1_000))
    with pytest.raises(DatasetRefused, match="over 7999 bytes when it is unpacked"):
        facts(tmp_path / "data.npz")


def memory_to_read(path: Path, rows: int) -> int:
    """Return by how many MiB a process grows that reads a dataset of this many rows of 256 bytes."""
    values = np.random.default_rng(0).standard_normal((rows, 64), dtype="f4")
    if path.suffix == ".npz":
        write_npz(path, x=values)
    else:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 64)
        write_parquet(path, pa.table({"x": lists}), row_group_size=rows)
    command = [sys.executable, "-c", READ_ALL, str(path), path.suffix[1:]]
    grown_mib, count = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(count) == rows
    return int(grown_mib)


@pytest.mark.parametrize("file_format", ["parquet", "npz"])
def test_memory_does_not_grow_with_the_length_of_a_dataset(tmp_path, file_format):
    path = tmp_path / f"data.{file_format}"
    # 75 MB more of data, in one row group.
    assert memory_to_read(path, 400_000) - memory_to_read(path, 100_000) < 20
