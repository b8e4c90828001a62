"""The four checks: each passes on good evidence, and fails on each kind of bad evidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bench.demo.books import Books, Posting
from bench.demo.cast import CARS, CHEAT
from bench.demo.checks import (
    Compared,
    check_cheater,
    check_ledger,
    check_output,
    check_rows,
    largest_relative_l2,
)
from bench.demo.outputs import Result
from bench.demo.settings import SPOILABLE
from bench.demo.spoil import spoil_books, spoil_results

ROWS = 6
HONEST = next(car.owner for car in CARS if car.role == "honest")


@pytest.fixture
def compared() -> Compared:
    vectors = np.eye(ROWS, 8, dtype=np.float32)
    labels = np.arange(ROWS)
    result = Result(
        row_numbers=np.arange(ROWS), is_ok=np.ones(ROWS, np.bool_), outputs={"vector": vectors.copy(), "label": labels}
    )
    return Compared(
        key="texts", result=result, direct={"vector": vectors, "label": labels}, tolerances={"vector": 1e-4, "label": 0}
    )


@pytest.fixture
def books() -> Books:
    def posting(owner: str, amount: int) -> Posting:
        return Posting(debit="project", credit=f"owner:{owner}", amount_microcredits=amount, owner=owner)

    return Books(
        by_batch={"bat_1": Counter(VALID=4, INVALID=2)},
        by_owner={HONEST: Counter(VALID=2), "Other": Counter(VALID=2), CHEAT.owner: Counter(INVALID=2)},
        earned=Counter({HONEST: 30, "Other": 20}),
        items=Counter({HONEST: 2, "Other": 2}),
        postings=[posting(HONEST, 10), posting(HONEST, 20), posting("Other", 20)],
    )


def change(compared: Compared, **changes: object) -> Compared:
    return replace(compared, result=replace(compared.result, **changes))  # type: ignore[arg-type]


def test_all_checks_pass_on_good_evidence(compared: Compared, books: Books) -> None:
    checks = [
        check_output([compared]),
        check_rows([compared]),
        check_cheater(books, owner=CHEAT.owner, car=CHEAT.name),
        check_ledger(books),
    ]
    assert [check.has_passed for check in checks] == [True] * 4
    assert checks[0].numbers == (
        "texts vector: 6 rows, largest relative L2 0.0e+00 (tolerance 1e-04)",
        "texts label: 6 of 6 rows equal to the last bit",
    )
    assert checks[1].numbers == ("texts: 6 of 6 rows, 0 missing, 0 repeated, 0 without output, in order",)
    assert checks[2].numbers[0] == "2 replicas INVALID, 0 VALID"
    assert checks[3].numbers == (
        "3 transfers between 3 accounts, whose balances sum to 0",
        "50 microcredits paid, 4 earning items worth 50",
    )


@pytest.mark.parametrize("which", SPOILABLE)
def test_spoiled_evidence_fails_exactly_its_own_check(compared: Compared, books: Books, which: str) -> None:
    spoiled, spoiled_books = spoil_results([compared], which), spoil_books(books, which)
    has_passed = {
        "output": check_output(spoiled).has_passed,
        "rows": check_rows(spoiled).has_passed,
        "cheater": check_cheater(spoiled_books, owner=CHEAT.owner, car=CHEAT.name).has_passed,
        "ledger": check_ledger(spoiled_books).has_passed,
    }
    assert has_passed == {name: name != which for name in SPOILABLE}


def test_one_wrong_label_fails_the_output(compared: Compared) -> None:
    labels = compared.result.outputs["label"].copy()
    labels[3] += 1
    check = check_output([change(compared, outputs={**compared.result.outputs, "label": labels})])
    assert not check.has_passed
    assert check.numbers[1] == "texts label: 5 of 6 rows equal to the last bit"


def test_an_output_of_another_type_or_none_fails(compared: Compared) -> None:
    doubles = {**compared.result.outputs, "vector": compared.result.outputs["vector"].astype(np.float64)}
    assert not check_output([change(compared, outputs=doubles)]).has_passed
    assert not check_output([change(compared, outputs={})]).has_passed


def test_a_result_without_any_batch_passes_nothing() -> None:
    assert not check_output([]).has_passed
    assert not check_rows([]).has_passed


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 4], [1, 0, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6]])
def test_a_missing_repeated_exchanged_or_extra_row_fails(compared: Compared, numbers: list[int]) -> None:
    rows = np.array(numbers)
    assert not check_rows([change(compared, row_numbers=rows, is_ok=np.ones(len(rows), np.bool_))]).has_passed


def test_a_row_without_output_fails(compared: Compared) -> None:
    is_ok = np.array([True] * 5 + [False])
    check = check_rows([change(compared, is_ok=is_ok)])
    assert not check.has_passed
    assert "1 without output" in check.numbers[0]


def test_a_cheat_that_nobody_caught_fails(books: Books) -> None:
    unseen = replace(books, by_owner={HONEST: Counter(VALID=2)})
    assert not check_cheater(unseen, owner=CHEAT.owner, car=CHEAT.name).has_passed


def test_a_cheat_who_was_paid_fails_whichever_book_says_so(books: Books) -> None:
    posting = Posting(debit="project", credit="owner:x", amount_microcredits=1, owner=CHEAT.owner)
    by_ledger = replace(books, postings=[*books.postings, posting])
    by_items = replace(books, earned=books.earned + Counter({CHEAT.owner: 1}))
    for paid in (by_ledger, by_items):
        assert not check_cheater(paid, owner=CHEAT.owner, car=CHEAT.name).has_passed


def test_a_ledger_that_paid_the_wrong_owner_fails_although_it_sums_up(books: Books) -> None:
    swapped = replace(books, earned=Counter({HONEST: 20, "Other": 30}))
    check = check_ledger(swapped)
    assert not check.has_passed
    assert check.numbers[-1] == f"paid and earned differ for {', '.join(sorted([HONEST, 'Other']))}"


def test_relative_l2_is_the_worst_row_and_infinite_for_what_is_no_number() -> None:
    expected = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    found = np.array([[3.0, 4.5], [0.0, 0.0], [1.0, 0.0]])
    assert largest_relative_l2(found, expected) == pytest.approx(0.1)
    found[1, 0] = 1e-9
    assert largest_relative_l2(found, expected) == np.inf
    assert largest_relative_l2(np.full_like(expected, np.nan), expected) == np.inf


def test_money_that_is_released_or_taken_back_is_counted_once(books: Books) -> None:
    def move(source: str, target: str, amount: int, *, owner: str | None, payer: str | None) -> Posting:
        return Posting(debit=source, credit=target, amount_microcredits=amount, owner=owner, payer=payer)

    before = books.paid()
    books.postings.append(move("owner:a", "owner:b", 20, owner=HONEST, payer=HONEST))
    assert books.paid() == before
    books.postings.append(move("owner:a", "project", 10, owner=None, payer=HONEST))
    assert books.paid()[HONEST] == before[HONEST] - 10
    assert sum(books.balances().values()) == 0
