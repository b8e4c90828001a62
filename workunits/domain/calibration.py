"""Which tolerance an output gets: ten times what honest runs differ by, and well below what a cheaper precision does.

Measured at admission, and corrected later by audits that agreed. Between a floor, for what one computer cannot show of
others, and a cap. Everything here is a distance of the output's comparator: relative L2, or a difference of shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from workunits.domain.comparison import MISMATCH_MIN, Comparator

# What honest computers may differ by, as a multiple of the most that was seen.
OBSERVED_FACTOR: Final = 10.0
# Honest runs that differ by more than this share of the cap are too far apart to be compared.
OBSERVED_SHARE_MAX: Final = 0.5
# A cheaper precision has to come out as a mismatch even where a row shows half of what the usual row shows of it.
CHEAPER_FACTOR: Final = 2.0 * MISMATCH_MIN
# By how much a learned tolerance has to differ before it is worth a change.
LEARNED_CHANGE_MIN: Final = 0.1
# So many clusters have to have seen a distance, unless an operator's device has.
CLUSTERS_MIN: Final = 3
# A tolerance widens as soon as enough parties have seen a larger distance, and narrows only after so many audits.
SAMPLES_TO_NARROW: Final = 300

FULL, HALF = "F32", "F16"
# (full precision, half precision). Sound processors of all instruction sets stay below 1e-5 of fp32, and fp16 differs
# from it by 5e-4 and more; 8 bits differ from fp16 by 1.6e-2.
_FLOORS: Final[Mapping[str, tuple[float, float]]] = {
    "logits": (1e-5, 2e-3),
    "embedding": (1e-5, 2e-3),
    "dense": (1e-5, 2e-3),
    "probabilities": (1e-5, 2e-3),
    "detections": (1e-4, 2e-3),
    "int8": (5e-3, 5e-3),
}
_CAPS: Final[Mapping[str, tuple[float, float]]] = {
    "logits": (1e-4, 5e-3),
    "embedding": (1e-4, 5e-3),
    "dense": (1e-4, 5e-3),
    "probabilities": (1e-3, 1e-2),
    "detections": (1e-3, 1e-2),
    "tokens": (1e-4, 5e-3),
    "int8": (5e-2, 5e-2),
}
# What sound computers differ by because a number of this kind has no more digits. A lower precision may show less,
# where most of an output is handed on as it came in; then it is not told from the model's own, and nobody is blamed.
_ROUNDINGS: Final[Mapping[str, float]] = {"F64": 1e-14, "F32": 1e-6, "F16": 5e-4}
# 8-bit outputs within one comparison class: the same kernels, so that only a rounding at a tie can differ.
INT8_SAME_CLASS_CAP: Final = 1e-2
# The comparison class under which a model's tolerance within any one class is kept; '' is the one across classes.
SAME_CLASS: Final = "*"


def tolerance_cap(comparator: str, precision: str) -> float:
    """Return the largest tolerance that is chosen for a comparator; 0 for exact outputs."""
    return _CAPS.get(comparator, (0.0, 0.0))[precision == HALF]


def tolerance_floor(comparator: str, precision: str) -> float:
    """Return the smallest tolerance that a comparator may have; 0 where it has none of its own."""
    return _FLOORS.get(comparator, (0.0, 0.0))[precision == HALF]


def rounding_of(comparator: str, dtype: str, precision: str) -> float:
    """Return the smallest tolerance that an output may get, however little a lower precision shows of itself."""
    if comparator == Comparator.INT8:
        return tolerance_floor(comparator, precision)  # a single step of an 8-bit number is as much
    return _ROUNDINGS.get(HALF if precision == HALF else dtype, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """An output's tolerance and what it rests on.

    `cheaper`: what the next cheaper precision differs by in the median row; None where that is not known.
    """

    tolerance: float
    observed_max: float
    cheaper: float | None
    samples: int

    @property
    def is_separable(self) -> bool:
        """Whether the cheaper precision comes out as a mismatch, and not only as a doubt."""
        return self.cheaper is None or MISMATCH_MIN * self.tolerance <= self.cheaper


def choose_tolerance(
    *, observed_max: float, cheaper: float | None, floor: float, cap: float, rounding: float = 0.0
) -> float:
    """Return the tolerance for what was measured.

    Never below ten times what honest runs differ by, unless the cap is; below the floor only to keep a cheaper
    precision a mismatch, as where that shows so little, so does everything else; and never below `rounding`.
    """
    wanted = max(OBSERVED_FACTOR * observed_max, _floor(floor, cheaper, rounding))
    return min(wanted, cap)


def is_comparable(observed_max: float, tolerance_max: float) -> bool:
    """Return whether honest runs are near enough to each other; `tolerance_max` is the cap or what was stated."""
    return observed_max <= OBSERVED_SHARE_MAX * tolerance_max


@dataclass(frozen=True, kw_only=True, slots=True)
class AgreedDistances:
    """What audits that agreed have shown of an output in one comparison class, since its tolerance was last set.

    Attributes:
        by_operators: of the clusters that operators' devices audited, each by its largest distance, the third largest;
            None with fewer.
        by_auditors, by_primaries: among cars the third largest of the auditors' clusters, and of those that were
            audited. Two clusters of liars cannot raise any of the three, however many audits they take part in.
        samples: how many audits those were.
    """

    by_operators: float | None
    by_auditors: float | None
    by_primaries: float | None
    samples: int

    @property
    def believed_max(self) -> float | None:
        """The largest distance that may be believed; None where too few parties have seen any."""
        by_cars = None
        if self.by_auditors is not None and self.by_primaries is not None:
            by_cars = min(self.by_auditors, self.by_primaries)
        known = [each for each in (self.by_operators, by_cars) if each is not None]
        return max(known, default=None)


def learn_tolerance(
    present: Calibration, seen: AgreedDistances, *, floor: float, cap: float, rounding: float = 0.0
) -> Calibration | None:
    """Return the corrected calibration, or None where there is nothing to correct.

    Never above the cap, and never so that a cheaper precision would not be a mismatch. It narrows only after many
    audits, as few of them may have met easy rows, and not from the cap: that may be what a researcher has stated.
    """
    believed = seen.believed_max
    if believed is None:
        return None
    upper = cap if present.cheaper is None else min(cap, max(present.cheaper / CHEAPER_FACTOR, present.tolerance))
    lower = min(_floor(floor, present.cheaper, rounding), present.tolerance)
    tolerance = min(max(OBSERVED_FACTOR * believed, lower), upper)
    if tolerance < present.tolerance and (seen.samples < SAMPLES_TO_NARROW or present.tolerance >= cap):
        return None
    if abs(tolerance - present.tolerance) <= LEARNED_CHANGE_MIN * present.tolerance:
        return None
    return Calibration(tolerance=tolerance, observed_max=believed, cheaper=present.cheaper, samples=seen.samples)


def _floor(floor: float, cheaper: float | None, rounding: float) -> float:
    return floor if not cheaper else min(floor, max(cheaper / CHEAPER_FACTOR, rounding))
