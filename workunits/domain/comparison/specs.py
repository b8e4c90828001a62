"""Outputs as a model's description has them, each with how it is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from workunits.domain.comparison.options import NO_OPTIONS, ComparatorOptions, read_options
from workunits.domain.types import TensorSpec

# Each is measured against each: a million pairs a row.
DETECTIONS_MAX: Final = 1000


class Comparator(StrEnum):
    """What an output is, and so how two of them are compared."""

    EXACT = "exact"  # labels, integers, booleans: equal to the last bit
    LOGITS = "logits"  # scores of classes: relative L2, and labels may flip only near a tie
    PROBABILITIES = "probabilities"  # shares of classes: no share may be off, and behind a softmax no score either
    EMBEDDING = "embedding"  # vectors: relative L2, which also bounds the ratio of the norms
    DENSE = "dense"  # maps and regressions: relative L2, and no point may be far off
    DETECTIONS = "detections"  # boxes with scores and classes: each has its twin, unless it was nearly dropped
    TOKENS = "tokens"  # choices: equal, except where the scores that they were chosen by are nearly tied
    INT8 = "int8"  # what a statically quantised graph gives: close within a class, roughly the same across classes


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSpec(TensorSpec):
    """An output of a model and how it is judged.

    `tolerance` is a relative L2 distance, for probabilities and detections a difference of shares or scores;
    0 asks for equal bits.
    """

    comparator: str
    tolerance: float
    options: ComparatorOptions = NO_OPTIONS


def read_output_specs(outputs: Sequence[Mapping[str, Any]]) -> tuple[OutputSpec, ...]:
    """Return the specs in a model's `outputs` column. Raises ValueError or OptionInvalid."""
    return tuple(
        OutputSpec(
            name=output["name"],
            dtype=output["dtype"],
            shape=tuple(output["shape"]),
            comparator=Comparator(output["comparator"]),
            tolerance=float(output["tolerance"]),
            options=read_options(output["comparator"], output.get("options")),
        )
        for output in outputs
    )


def find_misfits(specs: Sequence[OutputSpec]) -> list[tuple[str, str]]:
    """Return `(output, sentence)` for each output whose comparator cannot judge what the output is."""
    by_name = {spec.name: spec for spec in specs}
    return [(spec.name, sentence) for spec in specs for sentence in _misfits(spec, by_name)]


def _misfits(spec: OutputSpec, by_name: Mapping[str, OutputSpec]) -> Iterator[str]:
    options, is_float = spec.options, spec.dtype.startswith("F")
    for partner in (*options.partners, options.companion):
        if partner and (partner not in by_name or partner == spec.name):
            yield f"It names {partner!r}, which is none of the other outputs."
            return
    if spec.comparator in (Comparator.LOGITS, Comparator.PROBABILITIES, Comparator.EMBEDDING, Comparator.DENSE):
        if not is_float:
            yield f"Comparator {spec.comparator!r} is for floats, and the output is {spec.dtype}."
    elif spec.comparator == Comparator.TOKENS:
        if is_float:
            yield f"Comparator 'tokens' is for whole numbers, and the output is {spec.dtype}."
        elif options.companion:
            yield from _companion_misfits(spec, by_name[options.companion])
    elif spec.comparator == Comparator.DETECTIONS:
        yield from _detection_misfits(spec, by_name)
    if options.axis != -1 and not -len(spec.shape) <= options.axis < len(spec.shape):
        yield f"axis {options.axis} is none of a row's {len(spec.shape)} axes."


def _companion_misfits(spec: OutputSpec, companion: OutputSpec) -> Iterator[str]:
    if companion.comparator not in (Comparator.LOGITS, Comparator.PROBABILITIES, Comparator.DENSE, Comparator.INT8):
        yield f"Its companion {companion.name!r} is compared as {companion.comparator!r}, which gives no margin."
        return
    positions, scores = _count(spec.shape), _count(companion.shape)
    if scores != positions and scores != positions * classes_of(companion):
        yield (
            f"Its companion {companion.name!r} must have one margin, or the scores of all classes, for each of"
            f" {positions} choices; a row of it is {list(companion.shape)}."
        )


def _detection_misfits(spec: OutputSpec, by_name: Mapping[str, OutputSpec]) -> Iterator[str]:
    options = spec.options
    if not spec.dtype.startswith("F") or len(spec.shape) != 2 or spec.shape[1] != len(options.columns):
        yield f"A row of detections is floats [n, {len(options.columns)}], not {spec.dtype} {list(spec.shape)}."
        return
    if spec.shape[0] > DETECTIONS_MAX:
        yield f"{spec.shape[0]} detections a row are more than {DETECTIONS_MAX}; let the graph choose the best."
    for partner in (options.scores, options.classes):
        if partner and _count(by_name[partner].shape) != spec.shape[0]:
            yield f"{partner!r} must hold one value for each of {spec.shape[0]} boxes."
    if options.scores and not by_name[options.scores].dtype.startswith("F"):
        yield f"The scores {options.scores!r} must be floats."
    if options.count and _count(by_name[options.count].shape) != 1:
        yield f"The count {options.count!r} must be one number a row."


def classes_of(spec: OutputSpec) -> int:
    """Return how many classes the scores of this output are over; 1 for a scalar."""
    return spec.shape[spec.options.axis] if spec.shape else 1


def _count(shape: Sequence[int]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count
