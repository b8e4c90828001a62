"""What a comparator has to know beside the tolerance: where the classes are, which output belongs to which.

Options are members of `options` in an output's description. Each comparator knows a few; anything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from workunits.domain.errors import FleetError

BOX_CORNERS: Final = ("x1", "y1", "x2", "y2")
BOX_CENTRE: Final = ("cx", "cy", "w", "h")
BOX_ORIGIN: Final = ("x", "y", "w", "h")
BOXES: Final = (BOX_CORNERS, BOX_CENTRE, BOX_ORIGIN)
COLUMNS_DEFAULT: Final = (*BOX_CORNERS, "score", "class")
TASKS: Final = ("logits", "probabilities", "embedding", "dense")
AXIS_MAX: Final = 32

_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "logits": frozenset({"axis"}),
    "probabilities": frozenset({"axis", "softmax"}),
    "detections": frozenset({"columns", "scores", "classes", "count", "score_threshold", "iou_threshold"}),
    "tokens": frozenset({"companion", "sequential", "scale"}),
    "int8": frozenset({"task", "axis"}),
}


class OptionInvalid(FleetError):
    """An option of an output's comparator is unknown, or its value makes no sense."""

    code: ClassVar[str] = "invalid_output_option"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparatorOptions:
    """Options of an output, each with the value that holds where none is stated.

    Attributes:
        axis: the axis of the classes in a row's shape (logits, probabilities, int8).
        softmax: the probabilities come straight from a softmax, so even the tiny ones are exact to the last digits.
        columns: what the last axis of detections holds: four of a box, and `score` and `class` unless they are outputs.
        scores, classes, count: outputs that hold the detections' scores, classes, and how many of them count.
        score_threshold, iou_threshold: where the graph drops a detection, and where it drops one of two that overlap.
        companion: the output with the scores, or their margin, from which tokens were chosen.
        sequential: a token follows from those before it, so nothing after the first divergence is comparable.
        scale: the size of scores of which only a margin is known; the tolerance is relative to it.
        task: which rule 8-bit outputs go by.
    """

    axis: int = -1
    softmax: bool = False
    columns: tuple[str, ...] = COLUMNS_DEFAULT
    scores: str = ""
    classes: str = ""
    count: str = ""
    score_threshold: float = 0.0
    iou_threshold: float | None = None
    companion: str = ""
    sequential: bool = True
    scale: float = 1.0
    task: str = "embedding"

    @property
    def partners(self) -> tuple[str, ...]:
        """Outputs that are judged as a part of this one."""
        return tuple(name for name in (self.scores, self.classes, self.count) if name)


NO_OPTIONS: Final = ComparatorOptions()


def read_options(comparator: str, stated: Any) -> ComparatorOptions:
    """Return the options that an output's description states. Raises OptionInvalid naming the first bad one."""
    if stated is None:
        return NO_OPTIONS
    if not isinstance(stated, Mapping):
        raise OptionInvalid("options must be a JSON object.")
    known = _KNOWN.get(comparator, frozenset())
    for name in stated:
        if name not in known:
            offered = f"it knows {', '.join(sorted(known))}" if known else "it has none"
            raise OptionInvalid(f"Comparator {comparator!r} knows no option {str(name)[:40]!r}; {offered}.")
    options = ComparatorOptions(**{name: _READERS[name](name, value) for name, value in stated.items()})
    if comparator == "detections":
        _check_columns(options)
    return options


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OptionInvalid(f"{name} must be the name of an output.")
    return value


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OptionInvalid(f"{name} must be true or false.")
    return value


def _axis(name: str, value: Any) -> int:
    if type(value) is not int or not -AXIS_MAX <= value < AXIS_MAX:
        raise OptionInvalid(f"{name} must be an axis of one row's shape.")
    return value


def _share(name: str, value: Any) -> float:
    # Compared as it is, so that neither NaN nor a boolean gets through.
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise OptionInvalid(f"{name} must be a number from 0 to 1.")
    return float(value)


def _positive(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < 1e30:
        raise OptionInvalid(f"{name} must be a number above 0.")
    return float(value)


def _columns(name: str, value: Any) -> tuple[str, ...]:
    columns = value.split() if isinstance(value, str) else value
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise OptionInvalid(f"{name} must be a text such as {' '.join(COLUMNS_DEFAULT)!r}, or a list of such words.")
    return tuple(columns)


def _task(name: str, value: Any) -> str:
    if value not in TASKS:
        raise OptionInvalid(f"{name} must be one of {', '.join(TASKS)}.")
    return str(value)


_READERS: Final[Mapping[str, Any]] = {
    "axis": _axis,
    "softmax": _switch,
    "columns": _columns,
    "scores": _text,
    "classes": _text,
    "count": _text,
    "score_threshold": _share,
    "iou_threshold": _share,
    "companion": _text,
    "sequential": _switch,
    "scale": _positive,
    "task": _task,
}


def _check_columns(options: ComparatorOptions) -> None:
    """Require one box, and a score and a class, each either as a column or as an output of its own."""
    columns = options.columns
    if len(set(columns)) != len(columns) or not any(set(box) <= set(columns) for box in BOXES):
        boxes = " or ".join(repr(" ".join(box)) for box in BOXES)
        raise OptionInvalid(f"columns must name a box ({boxes}), each column once.")
    wanted = {"score": options.scores, "class": options.classes}
    box = next(box for box in BOXES if set(box) <= set(columns))
    for column in set(columns) - set(box):
        if column not in wanted:
            raise OptionInvalid(f"columns may hold a box, score and class, not {column[:40]!r}.")
    for column, output in wanted.items():
        if (column in columns) == bool(output):
            plural = "scores" if column == "score" else "classes"
            raise OptionInvalid(f"{column!r} must be one of the columns, or {plural!r} must name an output, not both.")
