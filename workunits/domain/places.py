"""The order in which a batch's units are leased: a permutation that only the server knows.

Were units leased in the order of the input, one that is run again would show by its byte range, far behind the others.
A place is the unit's number put through a Feistel network of four rounds over 30 bits, whose round functions are
tables of secret bytes: a bijection that needs no list of all units, so that a split may write them as they come.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

_HALF_BITS: Final = 15
_HALF: Final = 1 << _HALF_BITS
_ROUNDS: Final = 4
# Places are from 0 to this, less one; so are the numbers that can have one.
PLACES: Final = _HALF * _HALF

Integers = npt.NDArray[np.int64]


def place_units(numbers: Integers, *, batch_id: int, key: bytes) -> Integers:
    """Return the place of each unit number (0 to `PLACES` - 1), no two alike within a batch."""
    left, right = numbers >> _HALF_BITS, numbers & (_HALF - 1)
    for table in _tables(batch_id, key):
        left, right = right, left ^ table[right]
    placed: Integers = left << _HALF_BITS | right
    return placed


@lru_cache(maxsize=8)
def _tables(batch_id: int, key: bytes) -> tuple[Integers, ...]:
    secret = hashlib.shake_256(b"unit places" + key + batch_id.to_bytes(8, "big")).digest(2 * _HALF * _ROUNDS)
    words = np.frombuffer(secret, dtype="<u2").astype(np.int64) & (_HALF - 1)
    return tuple(words.reshape(_ROUNDS, _HALF))
