"""Chooses how an output of different cars should be compared, from what it is and how the graph makes it.

Every choice can be overruled by the researcher (docs/reference/comparators.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from workunits.domain.calibration import FULL, HALF, tolerance_cap, tolerance_floor
from workunits.domain.comparison import Comparator
from workunits.domain.comparison.options import TASKS
from workunits.domain.comparison.tokens import MANY_CHOICES
from workunits.sandbox.endings import OTHER, Ending

COMPARATORS: Final = tuple(comparator.value for comparator in Comparator)
EMBEDDING_FLOATS_MIN: Final = 64
DETECTION_COLUMNS: Final = 6
BOX_COLUMNS: Final = 4
# What scores are taken for where nothing is chosen by them.
_UNRANKED: Final = frozenset({"embedding", "dense"})


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


def find_precision(dtype: str, comparator: str, precision: str, ending: Ending) -> str:
    """Return the precision that an output's tolerance goes by, of a graph that computes with `precision`.

    An output in half precision carries no more than that, whatever it was computed with. Detections have no rule of
    their own for 8 bits: those are as far apart as of half precision at least.
    """
    is_coarse = dtype == "F16" or (comparator == Comparator.DETECTIONS and ending.is_quantised)
    return HALF if is_coarse else precision


def join_detections(
    outputs: list[dict[str, Any]], endings: Mapping[str, Ending], stated: frozenset[str], precision: str
) -> None:
    """Turn boxes, scores, classes and a count behind a suppression into one list of detections.

    Apart they would be compared place by place, and two of nearly the same score may change places. Nothing is joined
    where it is not plain which is which. `stated`: outputs of which the researcher has said how they are judged.
    """
    found = [each for each in outputs if endings.get(each["name"], OTHER).is_suppressed and each["name"] not in stated]
    boxes = [each for each in found if each["dtype"].startswith("F") and each["shape"][1:] == [BOX_COLUMNS]]
    if len(boxes) != 1 or len(boxes[0]["shape"]) != 2:
        return
    length = boxes[0]["shape"][0]
    lists = [each for each in found if each["shape"] in ([length], [length, 1])]
    counts = [each for each in found if each not in lists and int(np.prod(each["shape"], dtype=np.int64)) == 1]
    classes = [each for each in lists if not each["dtype"].startswith("F")] or [
        each for each in lists if any(word in each["name"].lower() for word in ("class", "label"))
    ]
    scores = [each for each in lists if each not in classes and each["dtype"].startswith("F")]
    if (len(scores), len(classes)) != (1, 1) or len(counts) > 1:
        return
    ending = endings[boxes[0]["name"]]
    options: dict[str, Any] = dict(ending.detection)
    options["columns"] = " ".join(options["columns"].split()[:BOX_COLUMNS])
    options |= {"scores": scores[0]["name"], "classes": classes[0]["name"]}
    options |= {"count": counts[0]["name"]} if counts else {}
    chosen = Comparator.DETECTIONS.value
    cap = tolerance_cap(chosen, find_precision(boxes[0]["dtype"], chosen, precision, ending))
    boxes[0].update(comparator=chosen, tolerance=cap, options=options)


def spare_masks(
    outputs: list[dict[str, Any]], endings: Mapping[str, Ending], stated: frozenset[str], precision: str
) -> None:
    """Turn exact outputs of many numbers that were computed with floats into `tokens` of which few may be at a tie."""
    for output in outputs:
        ending = endings.get(output["name"], OTHER)
        number = int(np.prod(output["shape"], dtype=np.int64))
        if output["name"] in stated or output["comparator"] != Comparator.EXACT or number < MANY_CHOICES:
            continue
        if ending.is_computed and not ending.is_quantised:
            chosen = Comparator.TOKENS.value
            output.update(comparator=chosen, tolerance=tolerance_cap(chosen, precision), options={"sequential": False})


def find_coarse(outputs: list[dict[str, Any]], endings: Mapping[str, Ending]) -> Iterator[tuple[str, str]]:
    """Yield `(output, sentence)` for outputs of 8-bit arithmetic that are compared more closely than computers agree.

    They add its products up differently, and by more than a tolerance that one computer could show.
    """
    partners = {each["options"].get(name) for each in outputs for name in ("scores", "classes", "count")
                if each["comparator"] == Comparator.DETECTIONS and "options" in each}  # fmt: skip
    least = tolerance_floor(Comparator.INT8, FULL)
    for output in outputs:
        comparator, options = output["comparator"], output.get("options", {})
        if not endings.get(output["name"], OTHER).is_quantised or output["name"] in partners:
            continue
        if comparator in TASKS and output["tolerance"] < least:
            advice = (
                f'State comparator \'int8\' with options {{"task": "{comparator}"}}, or a tolerance from {least:g} on.'
            )
        elif comparator == Comparator.EXACT or (comparator == Comparator.TOKENS and not options.get("companion")):
            advice = "Let the model give the scores that it is chosen from as well (see comparator 'tokens')."
        else:
            continue
        yield output["name"], f"Honest computers add up 8-bit products differently. {advice}"


def join_choices(outputs: list[dict[str, Any]], endings: Mapping[str, Ending], stated: frozenset[str]) -> None:
    """Turn exact outputs that are choices into `tokens`, where the scores that they were made from are an output too.

    Those are logits then, whatever they look like. `stated`: outputs whose comparator the researcher has chosen; those
    stay as they are.
    """
    for output in outputs:
        ending = endings.get(output["name"], OTHER)
        if output["name"] in stated or output["comparator"] != "exact" or ending.kind != "choice":
            continue
        for other in outputs:
            shares = ending.scores & endings.get(other["name"], OTHER).scores
            if other is output or not shares or not other["shape"]:
                continue
            is_stated = other["name"] in stated
            axis = _axis_of_choice(output, other, ending.axis, is_stated=is_stated)
            if axis is None:
                continue
            if other["comparator"] in _UNRANKED:
                other.update({"comparator": "logits"} | ({"options": {"axis": axis}} if axis != -1 else {}))
            output |= {"comparator": "tokens", "tolerance": other["tolerance"]}
            output["options"] = {"companion": other["name"], "sequential": False}
            break


def _axis_of_choice(
    output: Mapping[str, Any], other: Mapping[str, Any], chosen: int | None, *, is_stated: bool
) -> int | None:
    """Return the axis of the classes among which `output` chooses by the scores `other`; None where it does not."""
    shape = other["shape"]
    if other["comparator"] in ("logits", "probabilities", "int8"):
        axis = int(other.get("options", {}).get("axis", -1))
    elif other["comparator"] in _UNRANKED and not is_stated:
        axis = -1 if chosen is None or len(shape) == 1 else chosen
        axis = -1 if axis == len(shape) - 1 else axis
    else:
        return None
    if not -len(shape) <= axis < len(shape):
        return None
    choices = int(np.prod(output["shape"], dtype=np.int64))
    return axis if int(np.prod(shape, dtype=np.int64)) == choices * shape[axis] else None
