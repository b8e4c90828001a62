"""Whether a dataset's columns can feed a model's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workunits.domain.types import TensorSpec

_KINDS = {"F": "float", "I": "integer", "U": "integer", "B": "boolean"}


def find_misfits(columns: Iterable[TensorSpec], inputs: Sequence[TensorSpec]) -> list[str]:
    """Return one sentence for each input that no column can feed; empty where the dataset fits the model.

    Floats feed floats of any width and integers feed integers of any width (each value is checked when it is read).
    A flat column (a scalar or a list) feeds any shape with as many elements, row-major; other shapes must be equal,
    extents of 1 aside.
    """
    by_name = {column.name: column for column in columns}
    sentences = []
    for wanted in inputs:
        column = by_name.get(wanted.name)
        if column is None:
            have = ", ".join(sorted(by_name)) or "none"
            sentences.append(f"The model needs a column {wanted.name!r}; the usable columns are: {have}.")
        elif _KINDS[column.dtype[0]] != _KINDS[wanted.dtype[0]]:
            sentences.append(f"Column {wanted.name!r} is {column.dtype}, the model needs {wanted.dtype}.")
        elif not _shape_fits(column.shape, wanted.shape):
            sentences.append(
                f"Column {wanted.name!r} has rows of shape {list(column.shape)}, the model needs {list(wanted.shape)}."
            )
    return sentences


def _shape_fits(have: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if len(have) <= 1:
        return _count(have) == _count(wanted)
    return [extent for extent in have if extent != 1] == [extent for extent in wanted if extent != 1]


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count
