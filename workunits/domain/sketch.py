"""A sketch of an output in 256 bytes: enough to see that two outputs agree without sending either.

The client has the same code (`fleetclient.runner.sketch`); golden files pin the two together. A sketch is salted with
its replica's salt, so that nobody can use another's, and two sketches can be compared only by somebody who has one of
the two outputs: the server, which makes its own of the result that it keeps.

    0       version, 1
    1       flags: bit 0, every number is finite
    2..3    zero
    4..19   keyed BLAKE2b of what has to be equal: exact tensors, dtypes and shapes, where numbers are not finite,
            and by which power of two norms are measured
    20..35  keyed BLAKE2b of the first choice of every row of scores
    36..39  rows, big-endian
    40..255 54 float32, big-endian: projections, shared out evenly among the tensors that are compared by distance

Each row of such a tensor is divided by its norm, the logarithm of the norm is put behind it (a row that was only scaled
would not show otherwise), and it is multiplied by two vectors of random signs; each of the two numbers is added to a
bucket of its own. Two outputs differ in a bucket by about the relative L2 distance of the rows in it, so
a single row that is far off shows in two buckets, however many rows are right. Measured: honest fp32 noise of 3e-7
gives below 1e-6 with some hundred rows; fp16 for fp32 gives above 1e-4, one exchanged row above 1e-1.

The signs are bits of SHAKE-256 of salt, tensor and chunk, never of a library's random numbers, whose streams change.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from workunits.domain.comparison import OutputSpec
from workunits.domain.tensors import Tensor, read_tensors

SKETCH_BYTES: Final = 256
# In tolerances. Below it an auditor's bytes are not asked for.
SKETCH_MATCH_MAX: Final = 1.0
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BBxx16s16sI")
_BUCKETS: Final = (SKETCH_BYTES - _HEAD.size) // 4
# Rows are taken together up to so many numbers: it bounds memory, and numbers the chunks the same for everybody.
_CHUNK_NUMBERS: Final = 1 << 16
# As in the comparison: a row that cancels to nearly nothing is measured against this share of the median row.
_NORM_FLOOR_RATIO: Final = 1e-2
_EXACT, _FLOATS, _SCORES = "exact", "floats", "scores"
_SCORE_COMPARATORS: Final = ("logits", "probabilities")
_EXACT_COMPARATORS: Final = ("exact", "tokens", "detections")

Floats = npt.NDArray[np.float64]


def sketch_kind(comparator: str, dtype: str) -> str:
    """Return how an output is sketched: `exact`, `floats` or `scores` (by distance and first choice)."""
    if not dtype.startswith("F") or comparator in _EXACT_COMPARATORS:
        return _EXACT
    return _SCORES if comparator in _SCORE_COMPARATORS else _FLOATS


def make_sketch(document: bytes, specs: Sequence[OutputSpec], salt: bytes) -> bytes:
    """Return the sketch of a safetensors document that fits `specs`. `salt`: at most 64 bytes."""
    tensors = read_tensors(document)
    return sketch_tensors([(sketch_kind(spec.comparator, spec.dtype), tensors[spec.name]) for spec in specs], salt)


def sketch_tensors(tensors: Sequence[tuple[str, Tensor]], salt: bytes) -> bytes:
    """Return the sketch of tensors `[rows, *shape]` in the contract's order, each with its kind."""
    equal, choices = (hashlib.blake2b(key=salt, digest_size=16, person=person) for person in (b"equal", b"choices"))
    is_finite, projections = True, []
    projected = sum(kind != _EXACT for kind, _ in tensors)
    for index, (kind, tensor) in enumerate(tensors):
        equal.update(f"{index} {tensor.dtype.str} {tensor.shape} ".encode())
        if kind == _EXACT:
            equal.update(np.ascontiguousarray(tensor).data)
            continue
        finite = np.isfinite(tensor)
        if not finite.all():
            is_finite = False
            kinds = np.where(np.isnan(tensor), 2, np.where(tensor > 0, 1, 3))
            equal.update(np.where(finite, 0, kinds).astype(np.int8).data)
        if kind == _SCORES:
            choices.update(_first_choices(tensor, finite).data)
        magnitude, sums = _project(tensor, finite, salt=salt, index=index, buckets=_BUCKETS // projected)
        equal.update(f"{magnitude} ".encode())
        projections.append(sums)
    rows = len(tensors[0][1]) if tensors else 0
    head = _HEAD.pack(_VERSION, int(is_finite), equal.digest(), choices.digest(), rows)
    body = np.concatenate(projections).astype(">f4").tobytes() if projections else b""
    return (head + body).ljust(SKETCH_BYTES, b"\0")


def sketch_distance(canonical: bytes, sketch: bytes, specs: Sequence[OutputSpec], salt: bytes) -> float:
    """Return about how far the output behind a sketch is from a document, in tolerances.

    Infinity where something that has to be equal is not, where a first choice differs, or where the sketch is none.
    """
    own = make_sketch(canonical, specs, salt)
    if len(sketch) != SKETCH_BYTES or sketch[: _HEAD.size] != own[: _HEAD.size]:
        return float("inf")
    theirs, ours = (np.frombuffer(each, ">f4", offset=_HEAD.size).astype(np.float64) for each in (sketch, own))
    if not np.isfinite(theirs).all():
        return float("inf")
    compared = [spec for spec in specs if sketch_kind(spec.comparator, spec.dtype) != _EXACT]
    if not compared:
        return 0.0 if sketch == own else float("inf")
    share = _BUCKETS // len(compared)
    worst = 0.0
    for place, spec in enumerate(compared):
        part = slice(place * share, (place + 1) * share)
        difference = float(np.abs(theirs[part] - ours[part]).max(initial=0.0))
        worst = max(worst, _in_tolerances(difference, spec))
    return worst


def _in_tolerances(difference: float, spec: OutputSpec) -> float:
    if difference == 0:
        return 0.0
    return difference / spec.tolerance if spec.tolerance > 0 else float("inf")


def _first_choices(tensor: Tensor, finite: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    scores = np.where(finite, tensor, -np.inf)
    classes = scores.shape[-1] if scores.ndim > 1 else 1
    if not scores.size:
        return np.zeros(0, np.int32)
    return np.ascontiguousarray(scores.reshape(-1, classes).argmax(axis=1).astype("<i4"))


def _project(
    tensor: Tensor, finite: npt.NDArray[np.bool_], *, salt: bytes, index: int, buckets: int
) -> tuple[int, Floats]:
    """Return the power of two that the norms are measured by, and what the buckets hold."""
    rows = len(tensor)
    width = tensor[0].size if rows else 0
    sums: Floats = np.zeros(buckets)
    if not width:
        return 0, sums
    flat, mask = tensor.reshape(rows, width), finite.reshape(rows, width)
    step = max(1, _CHUNK_NUMBERS // width)
    norms = np.concatenate([np.linalg.norm(part, axis=1) for _, part in _chunks(flat, mask, step)])
    scale = np.maximum(norms, _NORM_FLOOR_RATIO * _median(norms))
    scale[scale == 0] = 1.0
    magnitude = round(float(np.log2(_median(scale))))
    logarithms = np.log(scale / 2.0**magnitude)
    for number, (first, part) in enumerate(_chunks(flat, mask, step)):
        signs, places = _draw(salt, index, number, len(part), width + 1, buckets)
        for projection in (0, 1):
            here = slice(first, first + len(part))
            values = np.where(signs[projection, :, :width], part, -part).sum(axis=1) / scale[here]
            values += np.where(signs[projection, :, width], logarithms[here], -logarithms[here])
            np.add.at(sums, places[projection], values)
    return magnitude, sums


def _median(values: Floats) -> float:
    """Return the lower median. numpy's own would load a module, and a confined runner can load nothing any more."""
    middle = (len(values) - 1) // 2
    return float(np.partition(values, middle)[middle])


def _chunks(flat: Tensor, mask: npt.NDArray[np.bool_], step: int) -> Iterator[tuple[int, Floats]]:
    for first in range(0, len(flat), step):
        part = slice(first, first + step)
        yield first, np.where(mask[part], flat[part], 0.0).astype(np.float64)


def _draw(salt: bytes, index: int, number: int, rows: int, width: int, buckets: int) -> tuple[Any, Any]:
    """Return two sign masks `[2, rows, width]` and two buckets a row `[2, rows]`, different where there is room."""
    sign_bytes = -(-2 * rows * width // 8)
    stream = hashlib.shake_256(b"sketch" + struct.pack(">II", index, number) + salt).digest(sign_bytes + 4 * rows)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8, sign_bytes))[: 2 * rows * width]
    words = np.frombuffer(stream, ">u2", offset=sign_bytes).reshape(2, rows).astype(np.int64)
    first = words[0] % buckets
    second = (first + 1 + words[1] % max(1, buckets - 1)) % buckets
    return bits.reshape(2, rows, width).astype(np.bool_), np.stack([first, second])
