"""What is printed at the end: results that a person understands, figures, and the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from bench.demo.books import Books
from bench.demo.cast import CARS
from bench.demo.checks import Check
from bench.demo.data import DigitLabels
from bench.demo.outputs import Array

ASKED: Final = ("San Francisco International", "Yellowstone", "Honolulu International")
NEIGHBOURS: Final = 3
STATES: Final = ("VALID", "INVALID", "INCONCLUSIVE", "RETURNED", "EXPIRED", "CANCELLED", "ERRORED")


def list_neighbours(texts: Sequence[str], embeddings: Array) -> list[str]:
    """Return lines for each of three texts: the text, and those whose embeddings are nearest, with their cosine."""
    lines = []
    for index in _find_asked(texts):
        similarity = embeddings @ embeddings[index]
        order = [other for other in np.argsort(-similarity) if texts[other] != texts[index]][:NEIGHBOURS]
        lines.append(f"  {texts[index]}")
        lines += [f"    {similarity[other]:.2f}  {texts[other]}" for other in order]
    return lines


def _find_asked(texts: Sequence[str]) -> list[int]:
    """Return three rows to ask about: the well-known ones where they are there, else the first ones."""
    known = [next((index for index, text in enumerate(texts) if text.startswith(name)), None) for name in ASKED]
    return [place if index is None else index for place, index in enumerate(known)]


def describe_accuracy(found: Array, truth: DigitLabels) -> str:
    """Return how many digits were read rightly, overall and in the half that the model had not seen."""
    is_right = found == truth.labels
    unseen = is_right[truth.is_unseen]
    return (
        f"{is_right.sum()} of {len(is_right)} digits read correctly ({is_right.mean():.1%}); "
        f"{unseen.mean():.1%} of the {len(unseen)} that the model was not trained on"
    )


def tabulate(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of a table: numbers to the right, everything else to the left."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    are_numbers = [cell[:1].isdigit() for cell in rows[0]]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, are_numbers, strict=True)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def tabulate_batches(batches: Sequence[tuple[str, int, float, str]], books: Books) -> list[str]:
    """Return rows, seconds, rows/s and replicas by outcome of each batch, given `(title, rows, seconds, batch id)`."""
    header = ["batch", "rows", "seconds", "rows/s", *(state.lower() for state in STATES)]
    rows_of_table = []
    for title, rows, seconds, batch_id in batches:
        states: Mapping[str, int] = books.by_batch.get(batch_id, {})
        figures = [str(rows), f"{seconds:.1f}", f"{rows / max(seconds, 1e-9):.0f}"]
        rows_of_table.append([title, *figures, *(str(states.get(state, 0)) for state in STATES)])
    return tabulate(header, rows_of_table)


def tabulate_cars(books: Books) -> list[str]:
    """Return what became of each car's leases, and what its owner has earned by the ledger."""
    paid = books.paid()
    rows = []
    for car in CARS:
        states: Mapping[str, int] = books.by_owner.get(car.owner, {})
        counts = [str(states.get(state, 0)) for state in STATES]
        rows.append(
            [f"{car.owner}'s {car.name}", f"{car.speed:.1f}", *counts, f"{paid[car.owner] / 1e6:.6f}", car.remark]
        )
    return tabulate(["car", "speed", *(state.lower() for state in STATES), "credits", "remark"], rows)


def describe_checks(checks: Sequence[Check]) -> list[str]:
    """Return each check's verdict and below it its numbers."""
    lines = []
    for number, check in enumerate(checks, start=1):
        lines.append(f"  {'PASS' if check.has_passed else 'FAIL'}  {number}. {check.title}")
        lines += [f"           {line}" for line in check.numbers]
    return lines
