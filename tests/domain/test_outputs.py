"""What may count as an output: size, digest, tensors; and the remembered header cannot be fooled."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from safetensors.numpy import save

from workunits.domain.outputs import OutputDigestMismatch, OutputTooLarge, check_output, count_rows
from workunits.domain.tensors import OutputMalformed
from workunits.domain.tokens import salted_digest
from workunits.domain.types import TensorSpec

SPECS = (TensorSpec(name="a", dtype="F32", shape=(3,)), TensorSpec(name="b", dtype="I64", shape=()))


def document(rows=2, **changes):
    tensors = {"a": np.ones((rows, 3), np.float32), "b": np.arange(rows, dtype=np.int64), **changes}
    return save({name: tensor for name, tensor in tensors.items() if tensor is not None})


def test_a_good_output_is_counted_and_digested():
    data = document(5)
    digest, rows = check_output(data, commitment=salted_digest(b"s", data), salt=b"s", specs=SPECS, bytes_max=len(data))
    assert (digest, rows) == (hashlib.sha256(data).digest(), 5)


def test_size_comes_before_digest_and_digest_before_content():
    with pytest.raises(OutputTooLarge):
        check_output(b"xx", commitment=b"", salt=b"", specs=SPECS, bytes_max=1)
    with pytest.raises(OutputDigestMismatch):
        check_output(b"xx", commitment=bytes(32), salt=b"", specs=SPECS, bytes_max=2)
    with pytest.raises(OutputMalformed):
        check_output(b"xx", commitment=salted_digest(b"", b"xx"), salt=b"", specs=SPECS, bytes_max=2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 16,
        document()[:-1],
        document() + b"\0",
        document(a=None),
        document(c=np.ones(2, np.float32)),
        document(a=np.ones((2, 4), np.float32)),
        document(a=np.ones((2, 3), np.float64)),
        document(b=np.arange(3, dtype=np.int64)),
        document(0),
        save({"a": np.ones((2, 3), np.float32), "b": np.ones(2, np.int64)})[:-16] + b"\0" * 15,
        (10).to_bytes(8, "little") + b"[[[[[[[[[[",
        (2).to_bytes(8, "little") + b"{}",
        (23).to_bytes(8, "little") + b'{"a":{"shape":[1e999]}} ',
        (19).to_bytes(8, "little") + b'{"a":{"shape":[-1]}}'[:19],
    ],
)
def test_what_does_not_fit_the_contract_is_malformed(data):
    with pytest.raises(OutputMalformed):
        count_rows(data, SPECS)


def test_a_remembered_header_still_needs_its_bytes():
    data = document(4)
    assert count_rows(data, SPECS) == 4
    with pytest.raises(OutputMalformed):
        count_rows(data[:-8], SPECS)
    with pytest.raises(OutputMalformed):
        count_rows(data, (SPECS[0],))
