"""What is printed at the end, and where work units are cut."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bench.demo.books import Books
from bench.demo.data import DigitLabels
from bench.demo.settings import choose_unit_rows, server_env
from bench.demo.summary import describe_accuracy, list_neighbours, tabulate, tabulate_batches


def test_neighbours_are_the_nearest_other_texts() -> None:
    angles = np.radians([0, 10, 80, 85, 5])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lines = list_neighbours(["a", "b", "c", "d", "a"], vectors)
    assert lines[:4] == ["  a", "    0.98  b", "    0.17  c", "    0.09  d"]
    assert len(lines) == 3 + 3 + 4 + 4 - 2


def test_accuracy_is_given_for_all_and_for_unseen_digits() -> None:
    truth = DigitLabels(labels=np.array([1, 2, 3, 4]), is_unseen=np.array([False, False, True, True]))
    assert describe_accuracy(np.array([1, 2, 3, 9]), truth) == (
        "3 of 4 digits read correctly (75.0%); 50.0% of the 2 that the model was not trained on"
    )


def test_a_table_has_words_to_the_left_and_numbers_to_the_right() -> None:
    assert tabulate(["car", "rows", "remark"], [["VF 8", "7", "fast"], ["Leaf", "1200", ""]]) == [
        "  car   rows  remark",
        "  VF 8     7  fast",
        "  Leaf  1200",
    ]


def test_a_batch_without_replicas_shows_zeros() -> None:
    books = Books(by_batch={"bat_1": Counter(VALID=3)}, by_owner={}, earned=Counter(), items=Counter())
    lines = tabulate_batches([("Texts", 10, 4.0, "bat_1"), ("Digits", 0, 0.0, "bat_2")], books)
    assert lines[1].split() == ["Texts", "10", "4.0", "2", "3", "0", "0", "0", "0", "0", "0"]
    assert lines[2].split() == ["Digits", "0", "0.0", "0", "0", "0", "0", "0", "0", "0", "0"]


@pytest.mark.parametrize(("rows", "unit_rows"), [(1, 16), (800, 16), (1000, 16), (2000, 40), (3376, 64), (10**6, 64)])
def test_units_are_whole_blocks_and_some_fifty(rows: int, unit_rows: int) -> None:
    assert choose_unit_rows(rows) == unit_rows
    assert server_env(rows)["FLEET_UNIT_ROWS_MAX"] == str(unit_rows)
