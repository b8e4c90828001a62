"""Choices: tokens of a text, labels, masks. Equal, except where what they were chosen from was nearly tied.

How close a choice was is read from the companion output: the scores of all classes, or the margin between the best
two. The companion is an output like any other and is compared itself, so that nobody invents a tie. Without one, a
choice that differs is simply wrong: otherwise a cheat could send any text and call it a tie. Only of many independent
ones, as in a mask or in a picture of whole numbers, one of a thousand may: some always are at a tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from workunits.domain.comparison.ranking import MARGIN_TOLERANCES, margins
from workunits.domain.comparison.rows import Floats, Mask, divide, floored, root_mean_square
from workunits.domain.comparison.specs import Comparator, OutputSpec, classes_of
from workunits.domain.tensors import Tensor
from workunits.domain.types import DTYPE_BYTES

# Of independent choices so many may be tied at once: at least one, and one of a thousand.
TIED_RATIO_MAX: Final = 1e-3
# So many choices of a row are enough to say that one of a thousand differs.
MANY_CHOICES: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Companion:
    """The output with the scores, on both sides: `[rows, ...]` tensors, and how they are compared."""

    spec: OutputSpec
    a: Tensor
    b: Tensor


def count_choices(spec: OutputSpec) -> int:
    """Return how many choices a row holds."""
    return spec.bytes_per_row // DTYPE_BYTES[spec.dtype]


def is_mask(spec: OutputSpec) -> bool:
    """Return whether these are many independent choices without their scores, so that only their number is judged."""
    options = spec.options
    return not options.companion and not options.sequential and count_choices(spec) >= MANY_CHOICES


def differing(a: Tensor, b: Tensor) -> Mask:
    """Return where choices differ, as `[rows, sequences, positions]`."""
    positions = a.shape[-1] if a.ndim > 1 else 1
    sequences = a[0].size // positions if len(a) and positions else 0
    unequal: Mask = (a != b).reshape(len(a), sequences, positions)
    return unequal


def token_distance(a: Tensor, b: Tensor, spec: OutputSpec, companion: Companion | None) -> Floats:
    """Return how far from a tie the choices that differ were, in tolerances; the worst of each row."""
    unequal = differing(a, b)
    if companion is None:
        number = unequal.sum(axis=(1, 2))
        return number / (TIED_RATIO_MAX * count_choices(spec)) if is_mask(spec) else np.where(number, np.inf, 0.0)
    away = _away_from_tie(companion, spec).reshape(unequal.shape)
    if spec.options.sequential:
        unequal = _first(unequal)
    farthest: Floats = np.where(unequal, away, 0.0).reshape(len(a), -1).max(axis=1, initial=0.0)
    if spec.options.sequential:
        return farthest
    allowed = max(1.0, TIED_RATIO_MAX * unequal[0].size) if len(unequal) else 1.0
    number = unequal.sum(axis=(1, 2))
    return np.maximum(farthest, np.where(number > 1, number / allowed, 0.0))


def not_comparable(a: Tensor, b: Tensor, companion: Tensor) -> Mask:
    """Return where a companion follows from choices that have already diverged, in the companion's own shape."""
    unequal = differing(a, b)
    after = (np.cumsum(unequal, axis=2) > 0) & ~_first(unequal)
    flat = after.reshape(len(a), -1)
    width = companion[0].size if len(companion) else 0
    repeats = width // flat.shape[1] if flat.shape[1] else 0
    return np.repeat(flat, repeats, axis=1).reshape(companion.shape)


def _first(unequal: Mask) -> Mask:
    """Return the first divergence of each sequence only."""
    first: Mask = unequal & (np.cumsum(unequal, axis=2) == 1)
    return first


def _away_from_tie(companion: Companion, spec: OutputSpec) -> Floats:
    """Return the larger of both sides' margins at each choice, in what the tolerance allows."""
    judged = companion.spec
    if companion.a.reshape(len(companion.a), -1).shape[1] == count_choices(spec):  # the margins themselves
        a, b = (np.abs(each.astype(np.float64)).reshape(len(each), -1) for each in (companion.a, companion.b))
        scale = np.full(a.shape, spec.options.scale)
    else:
        a, scale_a = _lead(companion.a, judged)
        b, scale_b = _lead(companion.b, judged)
        scale = floored(scale_a, scale_b, classes_of(judged))
    widest = np.maximum(a, b)
    widest[np.isnan(widest)] = np.inf
    return divide(widest, scale * MARGIN_TOLERANCES * judged.tolerance)


def _lead(tensor: Tensor, spec: OutputSpec) -> tuple[Floats, Floats]:
    """Return the margin at each choice, and what it is relative to: shares to 1, scores to their root mean square."""
    scores = np.moveaxis(tensor, spec.options.axis if spec.options.axis < 0 else spec.options.axis + 1, -1)
    scores = scores.reshape(len(tensor), -1, classes_of(spec)).astype(np.float64)
    lowest = np.where(np.isfinite(scores), scores, 0.0)
    # Masked scores (usually -inf) are no rivals: whoever leads them alone leads by far.
    lead = margins(np.where(np.isneginf(scores), lowest.min(axis=-1, initial=0.0, keepdims=True) - 1e30, scores))
    is_shares = Comparator.PROBABILITIES in (spec.comparator, spec.options.task)
    return lead, np.ones(lead.shape) if is_shares else root_mean_square(lowest)
