"""Boxes: how they are read from a table's columns, and how much two of them overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from workunits.domain.comparison.options import BOX_CENTRE, BOX_CORNERS, BOX_ORIGIN, ComparatorOptions
from workunits.domain.comparison.rows import Floats, Mask

# A box thinner than this share of the row's median box is widened to it: rounding could move it off itself otherwise.
EXTENT_FLOOR_RATIO: Final = 1e-3


def corners(column: Mapping[str, Floats], options: ComparatorOptions) -> Floats:
    """Return boxes as first and second corners; the second is the lower one where the output has it so."""
    if set(BOX_CORNERS) <= set(options.columns):
        return np.stack([column[name] for name in BOX_CORNERS], axis=-1)
    is_centre = set(BOX_CENTRE) <= set(options.columns)
    x, y, w, h = (column[name] for name in (BOX_CENTRE if is_centre else BOX_ORIGIN))
    left, low = (x - w / 2, y - h / 2) if is_centre else (x, y)
    return np.stack([left, low, left + w, low + h], axis=-1)


def overlap(a: Floats, b: Floats, floor: float | None = None) -> Floats:
    """Return intersection over union of boxes `[..., 4]`; of boxes without any extent 1 where they are the same."""
    floor = extent_floor(a, b) if floor is None else floor
    a, b = _widen(_ordered(a), floor), _widen(_ordered(b), floor)
    shared = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0.0, None).prod(axis=-1)
    area_a, area_b = ((each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (a, b))
    union = area_a + area_b - shared
    same = (a == b).all(axis=-1).astype(np.float64)
    ratio: Floats = np.divide(shared, union, out=same, where=union > 0)
    return np.clip(ratio, 0.0, 1.0)


def is_turned(a: Floats, b: Floats, floor: float) -> Mask:
    """Return where the corners of boxes `[..., 4]` with an extent come in another order: no box that could be read."""
    wide_a, wide_b = (each[..., 2:] - each[..., :2] for each in (a, b))
    is_clear = np.minimum(np.abs(wide_a), np.abs(wide_b)) > floor
    mask: Mask = (is_clear & (np.sign(wide_a) != np.sign(wide_b))).any(axis=-1)
    return mask


def _ordered(boxes: Floats) -> Floats:
    first, second = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=-1)


def extent_floor(a: Floats, b: Floats) -> float:
    """Return the extent that boxes are widened to: a share of the lesser of both sides' medians."""
    return EXTENT_FLOOR_RATIO * min(_median_extent(a), _median_extent(b))


def _median_extent(boxes: Floats) -> float:
    extents = np.abs(boxes[..., 2:] - boxes[..., :2]).ravel()
    extents = extents[extents > 0]
    return float(np.median(extents)) if extents.size else 0.0


def _widen(boxes: Floats, floor: float) -> Floats:
    missing = np.clip(floor - (boxes[..., 2:] - boxes[..., :2]), 0.0, None) / 2.0
    return np.concatenate([boxes[..., :2] - missing, boxes[..., 2:] + missing], axis=-1)
