"""The four checks. Pure: evidence in, verdicts with their numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.demo.books import Books
from bench.demo.outputs import Array, Result


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check that was made. `numbers`: lines that say what was measured, whether it passed or not."""

    title: str
    has_passed: bool
    numbers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The evidence on one batch: its result file, a direct run of the same rows, and the tolerance of each output."""

    key: str
    result: Result
    direct: Mapping[str, Array]
    tolerances: Mapping[str, float]


def check_output(batches: Sequence[Compared]) -> Check:
    """Every output equals the direct run: floats within their relative L2 tolerance, integers to the last bit."""
    passed, numbers = True, []
    for batch in batches:
        for name, expected in batch.direct.items():
            found, tolerance = batch.result.outputs.get(name), batch.tolerances.get(name, 0.0)
            if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
                passed = False
                numbers.append(f"{batch.key} {name}: shape or type differs")
                continue
            agrees, sentence = _compare(found, expected, tolerance)
            passed = passed and agrees
            numbers.append(f"{batch.key} {name}: {sentence}")
    title = "The output equals a direct onnxruntime run of the same rows"
    return Check(title=title, has_passed=passed and bool(numbers), numbers=tuple(numbers))


def check_rows(batches: Sequence[Compared]) -> Check:
    """Each input row is in the result exactly once, in order, with an output."""
    passed, numbers = True, []
    for batch in batches:
        wanted = len(next(iter(batch.direct.values())))
        rows = batch.result.row_numbers
        missing = wanted - len(np.unique(rows[(rows >= 0) & (rows < wanted)]))
        repeated = len(rows) - len(np.unique(rows))
        in_order, without = np.array_equal(rows, np.arange(wanted)), int((~batch.result.is_ok).sum())
        passed = passed and in_order and without == 0
        order = "in order" if in_order else "NOT in order"
        numbers.append(
            f"{batch.key}: {len(rows)} of {wanted} rows, {missing} missing, {repeated} repeated, "
            f"{without} without output, {order}"
        )
    title = "Every row exactly once, in input order"
    return Check(title=title, has_passed=passed and bool(numbers), numbers=tuple(numbers))


def check_cheater(books: Books, *, owner: str, car: str) -> Check:
    """The cheating car was caught at least once and earned nothing, by its earning items and by the ledger."""
    states: Mapping[str, int] = books.by_owner.get(owner, {})
    invalid, valid = states.get("INVALID", 0), states.get("VALID", 0)
    earned, items, paid = books.earned[owner], books.items[owner], books.paid()[owner]
    return Check(
        title=f"The cheating car ({owner}'s {car}) was caught and earned nothing",
        has_passed=invalid > 0 and valid == 0 and items == 0 and earned == 0 and paid == 0,
        numbers=(
            f"{invalid} replicas INVALID, {valid} VALID",
            f"{items} earning items worth {earned} microcredits, {paid} microcredits in the ledger",
        ),
    )


def check_ledger(books: Books) -> Check:
    """The ledger's balances sum to zero, and what it paid each owner is the sum of his earning items."""
    balances, paid = books.balances(), books.paid()
    total = sum(balances.values())
    wrong_owners = [owner for owner in paid.keys() | books.earned.keys() if paid[owner] != books.earned[owner]]
    paid_total, earned_total = sum(paid.values()), sum(books.earned.values())
    numbers: tuple[str, ...] = (
        f"{len(books.postings)} transfers between {len(balances)} accounts, whose balances sum to {total}",
        f"{paid_total} microcredits paid, {sum(books.items.values())} earning items worth {earned_total}",
    )
    if wrong_owners:
        numbers += (f"paid and earned differ for {', '.join(sorted(wrong_owners))}",)
    return Check(
        title="The ledger sums to zero and equals the sum of earning items",
        has_passed=total == 0 and not wrong_owners and paid_total == earned_total > 0,
        numbers=numbers,
    )


def largest_relative_l2(found: Array, expected: Array) -> float:
    """Return the largest ‖found - expected‖ / ‖expected‖ of any row; inf where one is not a number."""
    rows = len(expected)
    x, y = found.reshape(rows, -1).astype(np.float64), expected.reshape(rows, -1).astype(np.float64)
    norms = np.linalg.norm(y, axis=1)
    differences = np.linalg.norm(x - y, axis=1)
    ratios = np.divide(differences, norms, out=np.where(differences > 0, np.inf, 0.0), where=norms > 0)
    return float(np.max(np.where(np.isnan(ratios), np.inf, ratios), initial=0.0))


def _compare(found: Array, expected: Array, tolerance: float) -> tuple[bool, str]:
    if tolerance == 0 or not np.issubdtype(expected.dtype, np.floating):
        equal: Any = (found == expected).reshape(len(expected), -1).all(axis=1)
        return bool(equal.all()), f"{int(equal.sum())} of {len(equal)} rows equal to the last bit"
    largest = largest_relative_l2(found, expected)
    rows = len(expected)
    return largest <= tolerance, f"{rows} rows, largest relative L2 {largest:.1e} (tolerance {tolerance:.0e})"
