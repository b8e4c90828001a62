"""Tolerances as rows: what admission measured, what audits have corrected, and what holds in a comparison class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from workunits.domain.calibration import (
    CLUSTERS_MIN,
    FULL,
    HALF,
    SAME_CLASS,
    AgreedDistances,
    Calibration,
    learn_tolerance,
    rounding_of,
    tolerance_cap,
    tolerance_floor,
)
from workunits.models import ModelTolerance, OnnxModel
from workunits.store.db import fetch_all

# Audits from before are no longer looked at.
LEARNING_PERIOD: Final = timedelta(days=30)

Key = tuple[int, str, str]  # model, output, comparison class


def record_tolerances(model_id: int, measured: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
    """Write what the examination of a model measured; in the caller's transaction."""
    ModelTolerance.objects.bulk_create(
        ModelTolerance(model_id=model_id, source=ModelTolerance.Source.ADMISSION, calibrated_at=now, **row)
        for row in measured
    )


def get_tolerances(model_id: int, comparison_class: str = "") -> dict[str, float]:
    """Return the tolerance of each output that was calibrated.

    Of a class: its own, else the one within any single class, else the general one. Without a class: the general one.
    """
    classes = ["", SAME_CLASS, comparison_class] if comparison_class else [""]
    rows = ModelTolerance.objects.filter(model_id=model_id, comparison_class__in=classes)
    found = {(row.output, row.comparison_class): row.tolerance for row in rows}
    return {output: found[output, name] for name in classes for output, each in found if each == name}


def learn_tolerances(*, now: datetime) -> int:
    """Correct the tolerance of each class by audits that agreed (trust in no single party); return how many changed.

    Two reads and one write, whatever the number of audits. Runs in the caller's transaction.
    """
    parameters = {"since": now - LEARNING_PERIOD, "clusters_min": CLUSTERS_MIN}
    seen = {
        (model_id, output, name): AgreedDistances(
            by_operators=operators, by_auditors=auditors, by_primaries=primaries, samples=samples
        )
        for model_id, output, name, operators, auditors, primaries, samples in fetch_all(
            "list_agreed_distances", parameters
        )
    }
    model_ids = {model_id for model_id, _, _ in seen}
    present = {(row.model_id, row.output, row.comparison_class): row for row in _tolerances_of(model_ids)}
    limits = _limits_of(model_ids)
    changed = []
    for key, distances in seen.items():
        row = present.get(key) or present[key[0], key[1], ""]
        learned = learn_tolerance(_calibration(row), distances, **limits[key[0], key[1]])
        if learned is not None:
            changed.append(_row(key, learned, distances, now))
    ModelTolerance.objects.bulk_create(
        changed,
        update_conflicts=True,
        unique_fields=["model", "comparison_class", "output"],
        update_fields=["tolerance", "observed_max", "cheaper_distance", "samples", "source", "calibrated_at"],
    )
    return len(changed)


def _tolerances_of(model_ids: set[int]) -> list[ModelTolerance]:
    return list(ModelTolerance.objects.filter(model_id__in=model_ids))


def _limits_of(model_ids: set[int]) -> dict[tuple[int, str], dict[str, float]]:
    """Return the limits of each output; the cap is what the model's description says, and so the researcher's."""
    limits = {}
    for model_id, outputs in OnnxModel.objects.filter(id__in=model_ids).values_list("id", "outputs"):
        for output in outputs:
            comparator, cap = output["comparator"], float(output["tolerance"])
            # A model that computes in half precision may still give full floats.
            precision = HALF if cap > tolerance_cap(comparator, FULL) else FULL
            limits[model_id, output["name"]] = {
                "floor": tolerance_floor(comparator, precision),
                "cap": cap,
                "rounding": rounding_of(comparator, output["dtype"], precision),
            }
    return limits


def _calibration(row: ModelTolerance) -> Calibration:
    return Calibration(
        tolerance=row.tolerance, observed_max=row.observed_max, cheaper=row.cheaper_distance, samples=row.samples
    )


def _row(key: Key, learned: Calibration, distances: AgreedDistances, now: datetime) -> ModelTolerance:
    by_operators = distances.by_operators is not None and learned.observed_max <= distances.by_operators
    return ModelTolerance(
        model_id=key[0],
        output=key[1],
        comparison_class=key[2],
        tolerance=learned.tolerance,
        observed_max=learned.observed_max,
        cheaper_distance=learned.cheaper,
        samples=learned.samples,
        source=ModelTolerance.Source.OPERATOR if by_operators else ModelTolerance.Source.AUDITS,
        calibrated_at=now,
    )
