"""A sketch of an output in 256 bytes: enough to see that two outputs agree without sending either.

The client has the same code (`fleetclient.runner.sketch`); golden files pin the two together. A sketch is salted with
its replica's salt, so that nobody can use another's, and two sketches can be compared only by somebody who has one of
the two outputs: the server, which makes its own of the result that it keeps.

    0       version, 1
    1       flags: bit 0, every number is finite
    2..3    zero
    4..19   keyed BLAKE2b of what has to be equal: exact tensors, dtypes and shapes, where numbers are not finite,
            and by which power of two norms are measured
    20..35  keyed BLAKE2b of the first choices: of every position of a row of scores, the best class
    36..39  rows, big-endian
    40..255 54 float32, big-endian: projections, shared out evenly among the tensors that are compared by distance

Each row of such a tensor is divided by its norm, the logarithm of the norm is put behind it (a row that was only scaled
would not show otherwise), each number is given a random weight from 1/2 to 3/2 (of two that were exchanged, signs alone
would see nothing in every second sum), and the row is multiplied by two vectors of random signs; each of the two sums
is added to a bucket of its own. Two outputs differ in a bucket by about the relative L2 distance of the rows in it, so
a single row that is far off shows in two buckets, however many rows are right; rounding noise adds up with the root of
the rows in a bucket, and so does what the server allows. Measured, as the largest difference of a bucket, with 300 rows
of 64 numbers: rounding noise of 3e-7 gives 2e-6, fp16 for fp32 2e-3, int8 5e-2, one exchanged row 0.4, one row scaled
by 1 % 1e-2; with 65,536 rows of 32: 4e-5, 3e-2, 0.7, 0.7 and 1e-2.

Of shares each position is a row of its own and taken as it is, since their rule is for the single share: beside the
others of a map it would vanish. Of a softmax the logarithms are sketched as well, centred over the classes: they are
the scores behind it, where a cheaper precision shows that clear shares hide. Detections and tokens are compared to the
last bit only: their rules need the outputs themselves.

Signs and weights come from SHAKE-256 of salt, tensor and chunk, never from a library's random numbers, whose streams
change. Sums may differ in their last bits between libraries; the head is exact. It costs 5 ms for each MiB of output,
of a softmax 12 ms; the contract limits it to some MiB. And up to 6 MiB of memory beside the output, whatever its shape
(an output that has its classes not last once more, and of a softmax some 60 bytes for each position).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from workunits.domain.comparison import Comparator, OutputSpec
from workunits.domain.comparison.ranking import WHOLE_SIZE_MIN, WHOLE_TOLERANCE
from workunits.domain.comparison.specs import classes_of
from workunits.domain.projection import (
    CHUNK_NUMBERS,
    Floats,
    Projection,
    chunks_of,
    common_exponent,
    lower_median,
    sum_of_squares,
)
from workunits.domain.tensors import Tensor, read_tensors

SKETCH_BYTES: Final = 256
# In tolerances. Below it an auditor's bytes are not asked for.
SKETCH_MATCH_MAX: Final = 1.0
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BBxx16s16sI")
_BUCKETS: Final = (SKETCH_BYTES - _HEAD.size) // 4
# As in the comparison: a row that cancels to nearly nothing is measured against this share of the median row.
_NORM_FLOOR_RATIO: Final = 1e-2
_NORM_FLOOR_OF_ONE: Final = 1.0
# A tolerance is ten times the largest noise of a row; this allows a bucket three deviations of as many such rows.
_NOISE_SHARE: Final = 0.3
# Shares below carry no digits to rely on.
_SHARE_MIN: Final = 1e-30
_SHARE_MIN_F16: Final = 1e-4
# As in the comparison: differences of scores behind a softmax are measured against no less than this spread.
_SPREAD_MIN: Final = 1.0
# Beyond, a share is no share, and sums of them might not be numbers any more.
_SHARE_MAX: Final = 1e30
_EXACT, _NUMBERS, _SCORES, _SHARES, _SOFTMAX = "exact", "numbers", "scores", "shares", "softmax"
# How outputs of the contract's comparators are sketched; floats of all others as numbers.
_KINDS: Final = {
    "exact": _EXACT, "tokens": _EXACT, "detections": _EXACT, "embedding": _NUMBERS, "dense": _NUMBERS,
    "logits": _SCORES, "probabilities": _SHARES, "softmax": _SOFTMAX,
}  # fmt: skip


class SketchedTensor(NamedTuple):
    """An output `[rows, *shape]`, how it is sketched, and the axis of its classes in a row's shape.

    `kind`: `exact`, `numbers`, `scores`, `shares` or `softmax`; the last three by distance and first choice.
    """

    kind: str
    tensor: Tensor
    axis: int = -1


def sketch_kind(comparator: str, dtype: str) -> str:
    """Return how an output is sketched, by the contract's word for how it is compared.

    Whole numbers of a quantised graph are compared by distance, and then the contract says so.
    """
    return _KINDS.get(comparator, _NUMBERS if dtype.startswith("F") else _EXACT)


def make_sketch(document: bytes, specs: Sequence[OutputSpec], salt: bytes) -> bytes:
    """Return the sketch of a safetensors document that fits `specs`. `salt`: at most 64 bytes."""
    tensors = read_tensors(document)
    return sketch_tensors([SketchedTensor(_kind(spec), tensors[spec.name], spec.options.axis) for spec in specs], salt)


def describe_comparison(spec: OutputSpec) -> dict[str, Any]:
    """Return what a contract says of how an output is compared: as much as a car needs to sketch it."""
    said: dict[str, Any] = {"comparator": _comparator(spec)}
    return said | ({"axis": spec.options.axis} if spec.options.axis != -1 else {})


def _comparator(spec: OutputSpec) -> str:
    if spec.comparator == Comparator.INT8:
        return spec.options.task
    if spec.comparator == Comparator.PROBABILITIES and spec.options.softmax:
        return _SOFTMAX
    return str(spec.comparator)


def _kind(spec: OutputSpec) -> str:
    return sketch_kind(_comparator(spec), spec.dtype)


def sketch_tensors(tensors: Sequence[SketchedTensor], salt: bytes) -> bytes:
    """Return the sketch of outputs in the contract's order."""
    equal, choices = (hashlib.blake2b(key=salt, digest_size=16, person=person) for person in (b"equal", b"choices"))
    is_finite, place = True, 0
    sums: Floats = np.zeros(_BUCKETS)
    projected = sum(each.kind != _EXACT for each in tensors)
    for index, (kind, tensor, axis) in enumerate(tensors):
        equal.update(f"{index} {tensor.dtype.str} {tensor.shape} ".encode())
        if kind == _EXACT:
            equal.update(np.ascontiguousarray(tensor).data)
            continue
        finite = np.isfinite(tensor)
        if not finite.all():
            is_finite = False
            kinds = np.where(np.isnan(tensor), 2, np.where(tensor > 0, 1, 3))
            equal.update(np.where(finite, 0, kinds).astype(np.int8).data)
        numbers = tensor
        if kind != _NUMBERS:
            numbers, finite = _by_class(tensor, axis), _by_class(finite, axis)
            choices.update(_first_choices(numbers, finite).data)
        projection = Projection(salt, index, sums[_share(place, projected)])
        magnitude = _project(kind, numbers, finite, projection)
        equal.update(f"{magnitude} ".encode())
        place += 1
    rows = len(tensors[0].tensor) if tensors else 0
    head = _HEAD.pack(_VERSION, int(is_finite), equal.digest(), choices.digest(), rows)
    with np.errstate(over="ignore"):  # what is infinite agrees with nothing
        return head + sums.astype(">f4").tobytes()


def _share(place: int, tensors: int) -> slice:
    """Return which buckets are a tensor's; where there are more tensors than buckets, some share one."""
    start = place * _BUCKETS // tensors
    return slice(start, max(start + 1, (place + 1) * _BUCKETS // tensors))


def sketch_distance(canonical: bytes, sketch: bytes, specs: Sequence[OutputSpec], salt: bytes) -> float:
    """Return about how far the output behind a sketch is from a document, in tolerances.

    Infinity where something that has to be equal is not, where a first choice differs, or where the sketch is none.
    """
    own = make_sketch(canonical, specs, salt)
    return _measure(sketch, own, specs) if sketch[: _HEAD.size] == own[: _HEAD.size] else float("inf")


def judge_sketch(canonical: bytes, sketch: bytes, specs: Sequence[OutputSpec], salt: bytes) -> tuple[bool, float]:
    """Return whether the output behind a sketch agrees with a document, and how far its numbers are off, in tolerances.

    A hash that differs is a doubt and no distance: honest machines may choose another best class of a near tie.
    """
    own = make_sketch(canonical, specs, salt)
    distance = _measure(sketch, own, specs)
    return sketch[: _HEAD.size] == own[: _HEAD.size] and distance <= SKETCH_MATCH_MAX, distance


def _measure(sketch: bytes, own: bytes, specs: Sequence[OutputSpec]) -> float:
    if len(sketch) != SKETCH_BYTES:
        return float("inf")
    theirs, ours = (np.frombuffer(each, ">f4", offset=_HEAD.size).astype(np.float64) for each in (sketch, own))
    if not np.isfinite(theirs).all() or not np.isfinite(ours).all():
        return float("inf")
    compared = [spec for spec in specs if _kind(spec) != _EXACT]
    rows = int.from_bytes(own[_HEAD.size - 4 : _HEAD.size])
    worst = 0.0
    for place, spec in enumerate(compared):
        part = _share(place, len(compared))
        difference = float(np.abs(theirs[part] - ours[part]).max())
        in_bucket = 2 * rows * _positions_of(spec) / (part.stop - part.start)
        worst = max(worst, _in_tolerances(difference, spec, rows_in_bucket=in_bucket))
    return worst


def _positions_of(spec: OutputSpec) -> int:
    """Return how many rows of its own a row of an output is sketched as."""
    if _kind(spec) not in (_SHARES, _SOFTMAX):
        return 1
    return math.prod(spec.shape) // max(1, classes_of(spec))


def _in_tolerances(difference: float, spec: OutputSpec, *, rows_in_bucket: float) -> float:
    if difference == 0:
        return 0.0
    if spec.tolerance <= 0:
        return float("inf")
    return difference / (_allowed(spec) * max(1.0, _NOISE_SHARE * math.sqrt(rows_in_bucket)))


def _allowed(spec: OutputSpec) -> float:
    """Return what a row may be off by: the tolerance, but of shares no more than what all of them may be together."""
    if _kind(spec) not in (_SHARES, _SOFTMAX):
        return spec.tolerance
    size = max(WHOLE_SIZE_MIN, 1.0 / math.sqrt(max(1, classes_of(spec))))  # shares that sum to 1 have no lesser norm
    return min(spec.tolerance, WHOLE_TOLERANCE * size)


def _by_class(tensor: Tensor, axis: int) -> Tensor:
    """Return an output as `[rows, positions, classes]`; one without a shape has one class."""
    rows = len(tensor)
    if tensor.ndim == 1:
        return tensor.reshape(rows, 1, 1)
    moved = np.moveaxis(tensor, axis if axis < 0 else axis + 1, -1)
    return moved.reshape(rows, -1, moved.shape[-1]) if moved.size else moved.reshape(rows, 0, max(1, moved.shape[-1]))


def _positions(tensor: Tensor) -> tuple[Tensor, Iterator[slice]]:
    """Return `[rows, positions, classes]` as one list of positions, and slices of it that are no more than a chunk."""
    scores = tensor.reshape(-1, tensor.shape[-1])
    step = max(1, CHUNK_NUMBERS // scores.shape[1])
    return scores, (slice(first, first + step) for first in range(0, len(scores), step))


def _first_choices(tensor: Tensor, finite: Tensor) -> npt.NDArray[np.int32]:
    scores, parts = _positions(tensor)
    mask = finite.reshape(scores.shape)
    choices = [np.where(mask[part], scores[part], -np.inf).argmax(axis=1).astype("<i4") for part in parts]
    return np.concatenate(choices) if choices else np.zeros(0, np.int32)


def _project(kind: str, tensor: Tensor, finite: Tensor, projection: Projection) -> int:
    """Add what is to be compared by distance; return the power of two that sizes are measured by."""
    is_by_position = kind in (_SHARES, _SOFTMAX)
    width = tensor.shape[-1] if is_by_position else (tensor[0].size if len(tensor) else 0)
    if not tensor.size or not width:
        return 0
    flat, mask = tensor.reshape(-1, width), finite.reshape(-1, width)
    if not is_by_position:
        return _project_rows(flat, mask, projection)
    magnitude = _project_logarithms(flat, mask, len(tensor), projection) if kind == _SOFTMAX else 0

    def read(here: slice, columns: slice) -> Floats:
        shares = np.where(mask[here, columns], flat[here, columns], 0.0).astype(np.float64)
        return np.clip(shares, -_SHARE_MAX, _SHARE_MAX)

    projection.add(flat.shape, read)
    return magnitude


def _project_rows(flat: Tensor, mask: Tensor, projection: Projection) -> int:
    """Add rows relative to their norms, and the norms."""
    exponent = common_exponent(flat, mask)

    def read(here: slice, columns: slice) -> Floats:
        numbers = np.where(mask[here, columns], flat[here, columns], 0.0).astype(np.float64)
        scaled: Floats = np.ldexp(numbers, -exponent)
        return scaled

    norms = np.sqrt(sum_of_squares(flat.shape, read))
    sizes = np.ones(len(norms))
    if norms.any():
        ratio = max(_NORM_FLOOR_RATIO, _NORM_FLOOR_OF_ONE / _usual_width(flat, mask))
        sizes = np.maximum(norms, ratio * lower_median(norms[norms > 0]))
    return projection.add_measured(flat.shape, read, sizes, exponent)


def _usual_width(flat: Tensor, mask: Tensor) -> float:
    """Return how many numbers are not zero in the usual row that has any."""
    counts: Floats = np.zeros(len(flat))
    for here, columns in chunks_of(*flat.shape):
        counts[here] += ((flat[here, columns] != 0) & mask[here, columns]).sum(axis=1)
    return lower_median(counts[counts > 0])


def _project_logarithms(flat: Tensor, mask: Tensor, rows: int, projection: Projection) -> int:
    """Add the scores behind shares, relative to their usual spread, and the spread; a score is centred over classes."""
    smallest = _SHARE_MIN_F16 if flat.dtype == np.float16 else _SHARE_MIN
    counts, totals, means = (np.zeros(len(flat)) for _ in range(3))

    def read(here: slice, columns: slice) -> Floats:
        shares = flat[here, columns]
        counted = mask[here, columns] & (shares > smallest)
        logarithms = np.log(np.where(counted, shares, 1.0).astype(np.float64))
        return np.where(counted, logarithms - means[here, None], 0.0)

    for here, columns in chunks_of(*flat.shape):
        counts[here] += (mask[here, columns] & (flat[here, columns] > smallest)).sum(axis=1)
        totals[here] += read(here, columns).sum(axis=1)
    counts = np.maximum(counts, 1.0)
    means += totals / counts
    squares = sum_of_squares(flat.shape, read) / counts
    of_row = np.repeat(squares.reshape(rows, -1).mean(axis=1), len(flat) // rows)
    spreads = np.sqrt(np.maximum(squares, of_row))
    usual = np.maximum(spreads, max(lower_median(np.sqrt(squares)), _SPREAD_MIN))
    return projection.add_measured(flat.shape, read, usual * np.sqrt(counts), 0)
