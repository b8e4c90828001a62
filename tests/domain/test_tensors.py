"""Safetensors documents: what is written equals the library's bytes, what is read is checked without mercy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.tensors import (
    HEADER_BYTES_MAX,
    NUMPY_DTYPES,
    OutputMalformed,
    check_document,
    document_bytes,
    make_header,
    read_tensors,
)
from workunits.domain.types import TensorSpec

SPECS = (
    TensorSpec(name="scores", dtype="F32", shape=(3,)),
    TensorSpec(name="label", dtype="I64", shape=()),
    TensorSpec(name="seen", dtype="BOOL", shape=(2,)),
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name != "__metadata__"
)
spec_lists = st.lists(
    st.builds(
        TensorSpec,
        name=names,
        dtype=st.sampled_from(sorted(NUMPY_DTYPES)),
        shape=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda spec: spec.name,
)


def arrays(specs, rows, seed=0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {spec.name: random.integers(0, 2, (rows, *spec.shape)).astype(NUMPY_DTYPES[spec.dtype]) for spec in specs}


def document(rows: int = 2) -> bytes:
    return bytes(safetensors.numpy.save(arrays(SPECS, rows)))


def rebuild(change: Any, data: bytes | None = None) -> bytes:
    """Return a document whose header was changed, with its length put right."""
    data = data or document()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    text = json.dumps(change(header) or header).encode()
    return len(text).to_bytes(8, "little") + text + data[end:]


@given(specs=spec_lists, rows=st.integers(0, 5))
def test_a_header_equals_the_librarys_to_the_byte(specs, rows):
    expected = safetensors.numpy.save(arrays(specs, rows))
    header = make_header(tuple(specs), rows)
    assert expected[: len(header)] == header
    assert len(expected) == document_bytes(specs, rows)
    check_document(expected, specs, rows)


@given(specs=spec_lists, rows=st.integers(0, 5))
def test_tensors_read_back_as_they_were(specs, rows):
    wanted = arrays(specs, rows, seed=1)
    tensors = read_tensors(safetensors.numpy.save(wanted))
    assert tensors.keys() == wanted.keys()
    assert all(
        np.array_equal(tensors[name], wanted[name]) and tensors[name].dtype == wanted[name].dtype for name in wanted
    )


def test_another_order_of_the_tensors_is_accepted():
    data = document()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    reordered, body, position = {}, b"", 0
    for name in sorted(header, reverse=True):
        start, stop = header[name]["data_offsets"]
        body += data[end + start : end + stop]
        reordered[name] = {**header[name], "data_offsets": [position, position + stop - start]}
        position += stop - start
    text = json.dumps(reordered).encode()
    check_document(len(text).to_bytes(8, "little") + text + body, SPECS, 2)


def drop(name: str) -> Any:
    return lambda header: header.pop(name) and None


def replace(name: str, **changes: Any) -> Any:
    return lambda header: header[name].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("label"), "The tensors are ['scores', 'seen'], the contract asks for ['label', 'scores', 'seen']."),
        (
            lambda header: header.update(extra=header["label"]),
            "The tensors are ['extra', 'label', 'scores', 'seen'], the contract asks for ['label', 'scores', 'seen'].",
        ),
        (
            lambda header: header.update(__metadata__={"a": "b"}),
            (
                "The tensors are ['__metadata__', 'label', 'scores', 'seen'], the contract asks for "
                "['label', 'scores', 'seen']."
            ),
        ),
        (replace("label", dtype="F64"), "Tensor 'label' is F64 [2], the contract asks for I64 [2]."),
        (replace("scores", shape=[3, 2]), "Tensor 'scores' is F32 [3, 2], the contract asks for F32 [2, 3]."),
        (replace("scores", shape=[2.0, 3]), "Tensor 'scores' is F32 [2.0, 3], the contract asks for F32 [2, 3]."),
        (replace("label", data_offsets=[0, 17]), "Tensor 'label' spans [0, 17], not 16 bytes."),
        (replace("label", data_offsets=[0]), "Tensor 'label' spans [0], not 16 bytes."),
        (replace("label", data_offsets=[-16, 0]), "Tensor 'label' spans [-16, 0], not 16 bytes."),
        (replace("label", data_offsets="0"), "Tensor 'label' spans 0, not 16 bytes."),
        (replace("label", more=1), "The header's entry for 'label' is not that of a tensor."),
        (lambda header: header.update(label=3), "The header's entry for 'label' is not that of a tensor."),
        (lambda _: [1], "The safetensors header is not a JSON object."),
    ],
)
def test_a_wrong_header_is_refused_by_name_and_difference(change, message):
    with pytest.raises(OutputMalformed) as refusal:
        check_document(rebuild(change), SPECS, 2)
    assert refusal.value.detail == message


def test_overlapping_tensors_are_refused():
    specs = [TensorSpec(name=name, dtype="I64", shape=()) for name in "ab"]
    data = safetensors.numpy.save({name: np.zeros(2, "i8") for name in "ab"})
    with pytest.raises(OutputMalformed, match="A tensor starts at byte 0 of the data, expected 16"):
        check_document(rebuild(replace("b", data_offsets=[0, 16]), data), specs, 2)


def test_a_hole_between_tensors_is_refused():
    specs = [TensorSpec(name=name, dtype="I64", shape=()) for name in "ab"]
    data = safetensors.numpy.save({name: np.zeros(2, "i8") for name in "ab"}) + bytes(8)
    with pytest.raises(OutputMalformed, match="A tensor starts at byte 24 of the data, expected 16"):
        check_document(rebuild(replace("b", data_offsets=[24, 40]), data), specs, 2)


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 9, 100])
def test_a_document_that_breaks_off_is_refused(cut):
    with pytest.raises(OutputMalformed):
        check_document(document()[:cut], SPECS, 2)


def test_bytes_behind_the_last_tensor_are_refused():
    with pytest.raises(OutputMalformed, match="The tensors end at byte"):
        check_document(document() + b"\0", SPECS, 2)


def test_another_number_of_rows_is_refused():
    with pytest.raises(OutputMalformed, match=r"F32 \[3, 3\], the contract asks for F32 \[2, 3\]"):
        check_document(document(rows=3), SPECS, 2)


def test_a_repeated_name_is_refused():
    text = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    with pytest.raises(OutputMalformed, match="repeats a name"):
        check_document(len(text).to_bytes(8, "little") + text + b"\0", [TensorSpec(name="a", dtype="U8", shape=())], 1)


def test_a_header_over_the_limit_is_refused_before_it_is_parsed():
    text = b"{}" + b" " * HEADER_BYTES_MAX
    with pytest.raises(OutputMalformed, match="cannot hold a safetensors header"):
        check_document(len(text).to_bytes(8, "little") + text, SPECS, 2)


def test_deeply_nested_json_is_refused():
    text = b"[" * 60_000
    with pytest.raises(OutputMalformed, match="not JSON"):
        check_document(len(text).to_bytes(8, "little") + text, SPECS, 2)


def test_a_boolean_that_is_neither_zero_nor_one_is_refused():
    data = document()
    with pytest.raises(OutputMalformed, match="Tensor 'seen' holds a boolean that is neither 0 nor 1"):
        check_document(data[:-1] + b"\2", SPECS, 2)
