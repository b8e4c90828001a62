"""Falsifies the evidence of one check, to show that the check can fail (`--spoil`); nothing else ever calls this."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.demo.books import Books
from bench.demo.cast import CARS, CHEAT
from bench.demo.checks import Compared


def spoil_results(batches: list[Compared], which: str | None) -> list[Compared]:
    """Return the batches with one number changed (`output`) or two rows exchanged (`rows`) in the first of them."""
    first = batches[0]
    if which == "output":
        outputs = {name: values.copy() for name, values in first.result.outputs.items()}
        next(iter(outputs.values()))[len(first.result.row_numbers) // 2] *= 1.001
        first = replace(first, result=replace(first.result, outputs=outputs))
    elif which == "rows":
        row_numbers = np.roll(first.result.row_numbers, 1)
        first = replace(first, result=replace(first.result, row_numbers=row_numbers))
    return [first, *batches[1:]]


def spoil_books(books: Books, which: str | None) -> Books:
    """Return the books with an honest car's record under the cheat's name (`cheater`) or a transfer lost (`ledger`)."""
    if which == "cheater":
        honest = next(car for car in CARS if car.role == "honest")
        return replace(books, by_owner={**books.by_owner, CHEAT.owner: books.by_owner[honest.owner]})
    return replace(books, postings=books.postings[:-1]) if which == "ledger" else books
