"""Chooses how an output of different cars should be compared, from what it is and how the graph makes it.

Every choice can be overruled by the researcher (docs/reference/comparators.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from workunits.domain.calibration import tolerance_cap
from workunits.domain.comparison import Comparator
from workunits.sandbox.endings import OTHER, Ending

COMPARATORS: Final = tuple(comparator.value for comparator in Comparator)
EMBEDDING_FLOATS_MIN: Final = 64
DETECTION_COLUMNS: Final = 6


def choose(dtype: str, shape: list[int], ending: Ending) -> tuple[str, dict[str, Any]]:
    """Return the default comparator of an output whose row has this dtype and shape, and its options."""
    is_float = dtype.startswith("F")
    if ending.is_suppressed and is_float and len(shape) == 2 and shape[1] == DETECTION_COLUMNS:
        return "detections", dict(ending.detection)
    if ending.is_quantised and (is_float or dtype in ("I8", "U8")):
        task, options = _choose_for_floats(shape, ending)
        return "int8", {"task": task} | {name: value for name, value in options.items() if name == "axis"}
    return _choose_for_floats(shape, ending) if is_float else ("exact", {})


def _choose_for_floats(shape: list[int], ending: Ending) -> tuple[str, dict[str, Any]]:
    if ending.kind == "softmax" and shape:
        axis = -1 if len(shape) == 1 else ending.axis
        if axis is None or not -len(shape) <= axis < len(shape):
            return "dense", {}
        options: dict[str, Any] = {} if axis in (-1, len(shape) - 1) else {"axis": axis}
        return "probabilities", options | ({"softmax": True} if ending.is_softmax else {})
    if ending.kind == "normalised" or (len(shape) == 1 and shape[0] >= EMBEDDING_FLOATS_MIN):
        return "embedding", {}
    return ("logits" if len(shape) == 1 else "dense"), {}


def default_tolerance(comparator: str, precision: str) -> float:
    """Return the largest distance at which two rows may still agree; calibration makes it smaller. 0: exact."""
    return tolerance_cap(comparator, precision)


def join_choices(outputs: list[dict[str, Any]], endings: Mapping[str, Ending], stated: frozenset[str]) -> None:
    """Turn exact outputs that are choices into `tokens`, where the scores that they were made from are an output too.

    `stated`: outputs whose comparator the researcher has chosen; those stay as they are.
    """
    judges = {"logits", "probabilities", "int8"}
    for output in outputs:
        ending = endings.get(output["name"], OTHER)
        if output["name"] in stated or output["comparator"] != "exact" or ending.kind != "choice":
            continue
        choices = int(np.prod(output["shape"], dtype=np.int64))
        for other in outputs:
            shares = ending.scores & endings.get(other["name"], OTHER).scores
            if other is output or other["comparator"] not in judges or not shares or not other["shape"]:
                continue
            classes = other["shape"][other.get("options", {}).get("axis", -1)]
            if int(np.prod(other["shape"], dtype=np.int64)) == choices * classes:
                output |= {"comparator": "tokens", "tolerance": other["tolerance"]}
                output["options"] = {"companion": other["name"], "sequential": False}
                break
