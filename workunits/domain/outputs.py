"""Whether the bytes that a car sent may count as an output: digest, size, names, dtypes, shapes.

This runs for every replica on the hot path. Documents of one contract share their header to the byte, so the row count
that a header stands for is remembered.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from functools import lru_cache
from typing import ClassVar

from workunits.domain.errors import FleetError
from workunits.domain.tensors import OutputMalformed, check_document
from workunits.domain.tokens import salted_digest
from workunits.domain.types import TensorSpec

HEADER_BYTES_MAX = 64 * 1024


class OutputDigestMismatch(FleetError):
    """The bytes do not have the SHA-256 that was committed."""

    code: ClassVar[str] = "output_digest_mismatch"


class OutputTooLarge(FleetError):
    """The output is larger than the contract allows."""

    code: ClassVar[str] = "output_too_large"


def check_output(
    data: bytes, *, commitment: bytes, salt: bytes, specs: tuple[TensorSpec, ...], bytes_max: int
) -> tuple[bytes, int]:
    """Check an output against its commitment and its contract; return its plain SHA-256 and its row count.

    Raises:
        OutputTooLarge, OutputDigestMismatch, OutputMalformed: in that order of checking.
    """
    if len(data) > bytes_max:
        raise OutputTooLarge(f"the output has {len(data)} bytes, the contract allows {bytes_max}")
    if not hmac.compare_digest(salted_digest(salt, data), commitment):
        raise OutputDigestMismatch
    return hashlib.sha256(data).digest(), count_rows(data, specs)


def count_rows(data: bytes, specs: tuple[TensorSpec, ...]) -> int:
    """Return the row count of a safetensors document that matches `specs` strictly, else raise OutputMalformed."""
    header_bytes = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= header_bytes <= min(HEADER_BYTES_MAX, len(data) - 8):
        raise OutputMalformed("the output is not a safetensors document: its header length is wrong")
    rows = _rows_of_header(data[8 : 8 + header_bytes], specs[0].name)
    if rows < 1:
        raise OutputMalformed("the output has no rows")
    check_document(data, specs, rows)
    return rows


@lru_cache(maxsize=1024)
def _rows_of_header(header: bytes, name: str) -> int:
    try:
        return int(json.loads(header)[name]["shape"][0])
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError):
        raise OutputMalformed(f"the output's header does not describe a tensor {name!r} with a row dimension") from None
