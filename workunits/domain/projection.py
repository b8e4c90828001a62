"""Projections of an output onto a few buckets, by random signs and weights: what a sketch holds of its numbers.

The client has the same code in its sketch; `domain.sketch` says what it is for. Rows come in chunks, so that memory is
bounded however large the output.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from workunits.domain.tensors import Tensor

# Rows are taken together up to so many numbers: it bounds memory, and numbers the chunks the same for everybody.
CHUNK_NUMBERS: Final = 1 << 16
# Spreads what is counted up over all bits: an odd number without a pattern.
_MIXER: Final = 0x7FEB352D

Floats = npt.NDArray[np.float64]
# (rows, columns) -> numbers of a tensor with two axes.
Reader = Callable[[slice, slice], Floats]


def sum_of_squares(shape: tuple[int, ...], read: Reader) -> Floats:
    """Return the sum of the squares of each row, read chunk by chunk."""
    squares: Floats = np.zeros(shape[0])
    for here, columns in chunks_of(*shape):
        squares[here] += np.square(read(here, columns)).sum(axis=1)
    return squares


class Projection:
    """The buckets of one output. Whatever is added after something else has signs of its own."""

    def __init__(self, salt: bytes, index: int, sums: Floats) -> None:
        self._salt, self._index, self._sums = salt, index, sums
        self._chunk = 0

    def add_measured(self, shape: tuple[int, ...], read: Reader, sizes: Floats, exponent: int) -> int:
        """Add rows divided by their sizes, which are times two to the `exponent`, and the logarithms of these."""
        # A third, so that rows of a norm such as 1 or the root of 2 do not stand where the rounding turns.
        magnitude = round(float(np.log2(lower_median(sizes))) + exponent + 1 / 3)
        logarithms = np.log(sizes) + (exponent - magnitude) * np.log(2.0)

        def read_measured(here: slice, columns: slice) -> Floats:
            numbers = read(here, columns) / sizes[here, None]
            return numbers if columns.start else np.concatenate([numbers, logarithms[here, None]], axis=1)

        self.add(shape, read_measured)
        return magnitude

    def add(self, shape: tuple[int, ...], read: Reader) -> None:
        """Add the signed sums of rows, chunk by chunk."""
        for here, columns in chunks_of(*shape):
            numbers = read(here, columns)
            numbers *= _draw_weights(self._salt, self._index, self._chunk, *numbers.shape)
            signs = _draw_signs(self._salt, self._index, self._chunk, *numbers.shape)
            places = _draw_places(self._salt, self._index, here.start, len(numbers), len(self._sums))
            for one, mask in zip(places, signs, strict=True):
                np.add.at(self._sums, one, np.where(mask, numbers, -numbers).sum(axis=1))
            self._chunk += 1


def common_exponent(flat: Tensor, mask: npt.NDArray[np.bool_]) -> int:
    """Return the power of two above every magnitude: squares of float64 would overflow or vanish otherwise."""
    largest = (np.abs(flat[part]).max(initial=0.0, where=mask[part]) for part in chunks_of(*flat.shape))
    return int(np.frexp(np.float64(max(largest)))[1])


def lower_median(values: Floats) -> float:
    """Return the lower median. numpy's own would load a module, and a confined runner can load nothing any more."""
    middle = (len(values) - 1) // 2
    return float(np.partition(values, middle)[middle])


def chunks_of(rows: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Give the rows and columns of each chunk: whole rows, or a part of one row where that is long."""
    step = max(1, CHUNK_NUMBERS // width)
    for first in range(0, rows, step):
        for column in range(0, width, CHUNK_NUMBERS):
            yield slice(first, min(first + step, rows)), slice(column, min(column + CHUNK_NUMBERS, width))


def _draw_weights(salt: bytes, index: int, number: int, rows: int, width: int) -> Floats:
    """Return what each number of a chunk counts for, `[rows, width]`, from 1/2 to 3/2.

    With signs alone, two numbers that were exchanged would cancel in every second projection.
    """
    stream = hashlib.shake_256(b"weights" + struct.pack(">II", index, number) + salt).digest(8)
    first, step = struct.unpack(">II", stream)
    words = np.arange(rows * width, dtype=np.uint32)
    words *= np.uint32(step | 1)
    words += np.uint32(first)
    words ^= words >> np.uint32(16)
    words *= np.uint32(_MIXER)
    weights: Floats = words / 2.0**32 + 0.5
    return weights.reshape(rows, width)


def _draw_signs(salt: bytes, index: int, number: int, rows: int, width: int) -> npt.NDArray[np.bool_]:
    """Return two sign masks `[2, rows, width]` of a chunk."""
    stream = hashlib.shake_256(b"signs" + struct.pack(">II", index, number) + salt).digest(-(-2 * rows * width // 8))
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))[: 2 * rows * width]
    return bits.reshape(2, rows, width).astype(np.bool_)


def _draw_places(salt: bytes, index: int, first_row: int, rows: int, buckets: int) -> npt.NDArray[np.int64]:
    """Return two buckets for each row of a chunk, `[2, rows]`: different ones where there is room.

    All parts of a row have the same.
    """
    stream = hashlib.shake_256(b"places" + struct.pack(">II", index, first_row) + salt).digest(4 * rows)
    words = np.frombuffer(stream, ">u2").reshape(2, rows).astype(np.int64)
    first = words[0] % buckets
    return np.stack([first, (first + 1 + words[1] % max(1, buckets - 1)) % buckets])
