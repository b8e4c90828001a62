"""Detections: each has its twin in the other output, unless it was nearly dropped.

Detections stand in any order and some rows of the list are padding, so they are matched: one to one, within a class,
by how much boxes overlap and how close scores are. One without a twin is excused only where the graph itself was close
to dropping it: by its score, or because it overlaps another one by nearly the threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from workunits.domain.comparison.boxes import corners, extent_floor, is_turned, overlap
from workunits.domain.comparison.rows import Floats, Mask
from workunits.domain.comparison.specs import OutputSpec
from workunits.domain.tensors import Tensor

MISMATCH_MIN: Final = 4.0
# What boxes may lack of full overlap, and an overlap may be off, for each unit of score: 0.01 for 0.001.
OVERLAP_TOLERANCES: Final = 10.0
EXTENT_MAX: Final = 1e100
# Classes are whole numbers; what is off by more is another number in somebody's result.
CLASS_TOLERANCE: Final = 1e-3
# So many of a row may be without a twin. More is no coincidence: whoever knows the true list could lay false boxes just
# so that each of them seems nearly dropped.
ALONE_MAX: Final = 2.0
ALONE_RATIO_MAX: Final = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Detections:
    """What was found in each row: boxes `[rows, n, 4]` as corners, the others `[rows, n]`."""

    boxes: Floats
    scores: Floats
    classes: Floats
    counts: Mask

    def pick(self, which: Any) -> Detections:
        """Return some of them, as numpy picks from the first axes."""
        return Detections(
            boxes=self.boxes[which], scores=self.scores[which], classes=self.classes[which], counts=self.counts[which]
        )

    def best_first(self) -> Detections:
        """Return each row's by falling score, which leaves those that do not count at the end."""
        order = np.argsort(-self.scores, axis=1, kind="stable")
        return self.pick((np.arange(len(order))[:, None], order))

    def row(self, index: int) -> Detections:
        """Return those of one row that count."""
        return self.pick((index, self.counts[index]))


def detection_distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor], spec: OutputSpec) -> Floats:
    """Return how far the lists of each row are apart, in tolerances of the score; inf is possible."""
    a, b = _read(first, spec), _read(second, spec)
    if not a.scores.size:
        return np.zeros(len(a.scores))
    length = a.scores.shape[1]
    distance = _in_place(a, b, spec.tolerance)
    a, b = a.best_first(), b.best_first()
    distance = np.minimum(distance, _in_place(a, b, spec.tolerance))
    distance[_odd_entries_differ(first[spec.name], second[spec.name])] = np.inf
    distance[_padding_differs(_read_padding(first, spec, a), _read_padding(second, spec, b))] = np.inf
    for index in np.flatnonzero((distance > 1.0) & np.isfinite(distance)).tolist():
        there = _match(a.row(index), b.row(index), spec, length=length)
        back = _match(b.row(index), a.row(index), spec, length=length)
        # Any matching is proof; where two pairs are equally close, another may be found from the other side.
        distance[index] = min(there, back)
        if distance[index] >= MISMATCH_MIN:
            break  # the output is wrong; the other rows keep the distance that they have in place
    return distance


def _read(tensors: Mapping[str, Tensor], spec: OutputSpec) -> Detections:
    options = spec.options
    table = tensors[spec.name].astype(np.float64)
    rows, length = table.shape[:2]
    # Areas of boxes beyond would overflow.
    bounded = np.clip(np.nan_to_num(table), -EXTENT_MAX, EXTENT_MAX)
    column = {name: bounded[:, :, place] for place, name in enumerate(options.columns)}

    def values(name: str, output: str) -> Floats:
        return tensors[output].astype(np.float64).reshape(rows, length) if output else column[name]

    scores, classes = values("score", options.scores), values("class", options.classes)
    finite = np.isfinite(table).all(axis=2) & np.isfinite(scores) & np.isfinite(classes)
    # Padding has no score, or a class below zero.
    counts = finite & (scores > 0) & (classes > -0.5)
    if options.count:
        number = tensors[options.count].astype(np.float64).reshape(rows, 1)
        counts &= np.arange(length)[None, :] < number
    boxes = np.where(counts[:, :, None], corners(column, options), 0.0)
    return Detections(
        boxes=boxes,
        scores=np.where(counts, scores, 0.0),
        classes=np.where(counts, classes, -1.0),
        counts=counts,
    )


def _read_padding(tensors: Mapping[str, Tensor], spec: OutputSpec, found: Detections) -> Floats:
    """Return for each row what somebody who reads it might take for detections and what is none, `[rows, 3]`.

    By how much the count exceeds those that count, how many others have a score, and these and those that count.
    """
    options, (rows, length) = spec.options, found.scores.shape
    number = np.full(rows, float(length))
    if options.count:
        # Some graphs count before they cut the list off.
        number = np.minimum(tensors[options.count].astype(np.float64).reshape(rows), length)
    table = tensors[spec.name]
    scores = tensors[options.scores].reshape(rows, length) if options.scores else table[:, :, _place("score", spec)]
    within = np.arange(length)[None, :] < number[:, None]
    counted = found.counts.sum(axis=1)
    others = (within & (scores > 0)).sum(axis=1) - counted
    excess = number - counted if options.count else np.zeros(rows)
    return np.stack([excess, others, others + counted], axis=1)


def _place(name: str, spec: OutputSpec) -> int:
    return spec.options.columns.index(name)


def _padding_differs(a: Floats, b: Floats) -> Mask:
    """Return the rows whose padding differs. Where it fills the list, one detection more is one entry of it less."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    differs: Mask = ~same[:, 0] | ~(same[:, 1] | same[:, 2])
    return differs


def _odd_entries_differ(a: Tensor, b: Tensor) -> Mask:
    """Return the rows whose entries with NaN or infinities differ in what is infinite where, in any order."""
    differ = np.zeros(len(a), dtype=np.bool_)
    odd_a, odd_b = _odd_entries(a), _odd_entries(b)
    for index in np.flatnonzero(odd_a.any(axis=1) | odd_b.any(axis=1)).tolist():
        differ[index] = _patterns(a[index][odd_a[index]]) != _patterns(b[index][odd_b[index]])
    return differ


def _odd_entries(table: Tensor) -> Mask:
    return np.asarray((~np.isfinite(table)).any(axis=2), dtype=np.bool_)


def _patterns(entries: Tensor) -> list[bytes]:
    """Return where entries hold NaN or an infinity of which sign, one pattern an entry, in order of pattern."""
    kinds = np.where(np.isnan(entries), 2.0, np.where(np.isinf(entries), np.sign(entries), 0.0))
    return sorted(kind.tobytes() for kind in kinds)


def _in_place(a: Detections, b: Detections, tolerance: float) -> Floats:
    """Return the distance of each row where the lists have the same order, which is the usual case; else 4 or more."""
    pair = np.maximum(
        (1.0 - overlap(a.boxes, b.boxes)) / (OVERLAP_TOLERANCES * tolerance), np.abs(a.scores - b.scores) / tolerance
    )
    both = a.counts & b.counts
    same = _same_class(a.classes, b.classes) & ~is_turned(a.boxes, b.boxes, extent_floor(a.boxes, b.boxes))
    pair = np.where(both, np.where(same, pair, MISMATCH_MIN), 0.0)
    pair = np.where(a.counts != b.counts, MISMATCH_MIN, pair)
    worst: Floats = pair.max(axis=1, initial=0.0)
    return worst


def _same_class(a: Floats, b: Floats) -> Mask:
    return np.asarray(np.abs(a - b) <= CLASS_TOLERANCE, dtype=np.bool_)


def _match(a: Detections, b: Detections, spec: OutputSpec, *, length: int) -> float:
    """Return the worst pair of the closest matching, or the worst one without a twin. Closest pairs first."""
    free_a, free_b = np.ones(len(a.scores), dtype=np.bool_), np.ones(len(b.scores), dtype=np.bool_)
    left, worst = min(len(a.scores), len(b.scores)), 0.0
    for i, j, cost in _close_pairs(a, b, spec.tolerance):
        if not left:
            break
        if free_a[i] and free_b[j]:
            free_a[i] = free_b[j] = False
            left, worst = left - 1, max(worst, cost)
    return max(worst, _without_twin(_Side(a, free_a, length), _Side(b, free_b, length), spec))


def _close_pairs(a: Detections, b: Detections, tolerance: float) -> Iterator[tuple[int, int, float]]:
    """Yield which may be the same detection, with how far they are apart, closest first; both sides by falling score.

    Only those of about the same score are looked at: all pairs of long lists would keep whoever compares them busy.
    """
    reach = MISMATCH_MIN * tolerance
    first = np.searchsorted(-b.scores, -a.scores - reach, side="left")
    counts = np.searchsorted(-b.scores, -a.scores + reach, side="right") - first
    i = np.repeat(np.arange(len(a.scores)), counts)
    j = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    floor = extent_floor(a.boxes, b.boxes)
    same = _same_class(a.classes[i], b.classes[j]) & ~is_turned(a.boxes[i], b.boxes[j], floor)
    i, j = i[same], j[same]
    shared = overlap(a.boxes[i], b.boxes[j], floor)
    cost = np.maximum((1.0 - shared) / (OVERLAP_TOLERANCES * tolerance), np.abs(a.scores[i] - b.scores[j]) / tolerance)
    near = np.flatnonzero(cost < MISMATCH_MIN)
    near = near[np.argsort(cost[near], kind="stable")]
    return zip(i[near].tolist(), j[near].tolist(), cost[near].tolist(), strict=True)


@dataclass(frozen=True, slots=True)
class _Side:
    found: Detections
    without_twin: Mask
    length: int

    @property
    def alone(self) -> Detections:
        """Those that have no twin on the other side."""
        return self.found.pick(self.without_twin)

    @property
    def cut(self) -> float:
        """The score below which this side's list has nothing: its last one's where the list is full."""
        return float(self.found.scores.min()) if len(self.found.scores) == self.length else 0.0


def _without_twin(a: _Side, b: _Side, spec: OutputSpec) -> float:
    """Return how far from being dropped the clearest detection is that only one side has, in tolerances.

    One that was kept here by a hair may have dropped others here, which the other side kept: they are excused with it.
    """
    allowed = max(ALONE_MAX, ALONE_RATIO_MAX * a.length)
    number = max(a.without_twin.sum(), b.without_twin.sum())
    if number > allowed:
        return max(float(number) / allowed, _clearest(a, b, spec))
    return _clearest(a, b, spec)


def _clearest(a: _Side, b: _Side, spec: OutputSpec) -> float:
    far_a, far_b = _from_dropped(a, b, spec), _from_dropped(b, a, spec)
    drops_a, drops_b = _drops(b, a, spec), _drops(a, b, spec)
    while True:
        freed_a = (far_a >= MISMATCH_MIN) & (drops_a & (far_b < MISMATCH_MIN)).any(axis=1)
        freed_b = (far_b >= MISMATCH_MIN) & (drops_b & (far_a < MISMATCH_MIN)).any(axis=1)
        if not (freed_a.any() or freed_b.any()):
            return float(max(far_a.max(initial=0.0), far_b.max(initial=0.0)))
        far_a, far_b = np.where(freed_a, 0.0, far_a), np.where(freed_b, 0.0, far_b)


def _from_dropped(own: _Side, other: _Side, spec: OutputSpec) -> Floats:
    """Return for each detection without a twin how far its score or an overlap is from what drops it on that side."""
    alone, rivals, threshold = own.alone, other.found, spec.options.iou_threshold
    cut = max(spec.options.score_threshold, other.cut)
    distance: Floats = np.clip(alone.scores - cut, 0.0, None) / spec.tolerance
    if threshold is None or not rivals.scores.size:
        return distance
    off = np.abs(overlap(alone.boxes[:, None, :], rivals.boxes[None, :, :]) - threshold)
    is_rival = _same_class(alone.classes[:, None], rivals.classes[None, :]) & (
        rivals.scores[None, :] >= alone.scores[:, None] - spec.tolerance
    )
    off = np.where(is_rival, off, np.inf).min(axis=1)
    return np.asarray(np.minimum(distance, off / (OVERLAP_TOLERANCES * spec.tolerance)), dtype=np.float64)


def _drops(rivals: _Side, own: _Side, spec: OutputSpec) -> Mask:
    """Return which rival without a twin `[own, rivals]` drops which of the other side's, where both are present."""
    one, other, threshold = own.alone, rivals.alone, spec.options.iou_threshold
    if threshold is None:
        return np.zeros((len(one.scores), len(other.scores)), dtype=np.bool_)
    least = threshold - OVERLAP_TOLERANCES * spec.tolerance
    overlaps = overlap(one.boxes[:, None, :], other.boxes[None, :, :]) >= least
    same = _same_class(one.classes[:, None], other.classes[None, :])
    mask: Mask = overlaps & same & (other.scores[None, :] >= one.scores[:, None])
    return mask
