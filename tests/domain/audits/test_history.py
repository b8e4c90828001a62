"""What a vehicle was believed over time, reckoned back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.audits.history import Accepted, Believed, Loss, reckon_back

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def at(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def test_a_life_rises_falls_to_nothing_and_begins_again():
    accepted = [Accepted(at(1), "standard", 50), Accepted(at(2), "standard", 50), Accepted(at(4), "standard", 20)]
    accepted.append(Accepted(at(6), "standard", 20))  # not weighed yet
    line = reckon_back({"standard": Believed(at(5), 20)}, accepted, [Loss(at(3), {"standard": 100})])["standard"]
    assert line == [
        Believed(at(1), 50), Believed(at(2), 100), Believed(at(3), 100), Believed(at(3), 0), Believed(at(4), 20),
        Believed(at(5), 20),
    ]  # fmt: skip


def test_who_was_never_believed_has_no_line():
    assert reckon_back({}, [Accepted(NOW, "strict", 1)], []) == {}


@given(
    st.lists(
        st.tuples(st.sampled_from(["economy", "strict", "reset"]), st.integers(min_value=1, max_value=9)), max_size=30
    )
)
def test_what_is_reckoned_back_is_what_was(moves):
    held: dict[str, int] = {}
    seen: dict[str, list[Believed]] = {}
    accepted, losses = [], []
    for minute, (what, weight) in enumerate(moves):
        if what == "reset":
            losses.append(Loss(at(minute), dict(held)))
            for level, weight_before in losses[-1].weights.items():
                seen[level] += [Believed(at(minute), weight_before), Believed(at(minute), 0)]
                held[level] = 0
        else:
            accepted.append(Accepted(at(minute), what, weight))
            held[what] = held.get(what, 0) + weight
            seen.setdefault(what, []).append(Believed(at(minute), held[what]))
    end = at(len(moves))
    expected = {level: [*line, Believed(end, held[level])] for level, line in seen.items()}
    assert reckon_back({level: Believed(end, weight) for level, weight in held.items()}, accepted, losses) == expected
