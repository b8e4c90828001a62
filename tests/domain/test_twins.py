"""One key in two cars: what shows it, and what does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.twins import ALTERNATION_WINDOW, MARKS_KEPT, ProcessMarks, is_suspected, note_mark

NOW = datetime(2026, 11, 24, 4, tzinfo=UTC)


def play(marks: list[str], *, step: timedelta = timedelta(minutes=15)) -> tuple[ProcessMarks, list[bool]]:
    seen, verdicts = ProcessMarks(), []
    for index, mark in enumerate(marks):
        seen, is_twin = note_mark(seen, mark, NOW + index * step)
        verdicts.append(is_twin)
    return seen, verdicts


@given(st.lists(st.integers(1, 30), max_size=30))
def test_a_car_that_restarts_as_often_as_it_likes_is_never_taken_for_two(runs: list[int]) -> None:
    history = [f"process {number}" for number, syncs in enumerate(runs) for _ in range(syncs)]
    seen, verdicts = play(history)
    assert not any(verdicts)
    assert len(seen.marks) <= MARKS_KEPT


@given(st.lists(st.sampled_from("ab"), min_size=3, max_size=40))
def test_two_that_take_turns_are_found_at_the_first_return(turns: list[str]) -> None:
    _, verdicts = play(turns)
    for index, verdict in enumerate(verdicts):
        is_return = index > 0 and turns[index] != turns[index - 1] and turns[index] in turns[:index]
        assert verdict is is_return


def test_as_many_copies_as_marks_are_kept_are_found() -> None:
    copies = [f"copy {number}" for number in range(MARKS_KEPT)]
    assert play([*copies, copies[0]])[1][-1]


def test_an_old_client_changes_nothing() -> None:
    seen, verdicts = play(["a", "", "a", ""])
    assert (seen.marks, verdicts) == (("a",), [False] * 4)


def test_the_window_counts_from_the_last_change() -> None:
    seen, _ = play(["a", "b"])
    assert seen.changed_at is not None
    assert note_mark(seen, "a", seen.changed_at + ALTERNATION_WINDOW)[1]
    assert not note_mark(seen, "a", seen.changed_at + ALTERNATION_WINDOW + timedelta(seconds=1))[1]


def test_a_suspicion_lasts_a_week() -> None:
    assert not is_suspected(None, NOW)
    assert is_suspected(NOW, NOW + timedelta(days=7) - timedelta(seconds=1))
    assert not is_suspected(NOW, NOW + timedelta(days=7))
