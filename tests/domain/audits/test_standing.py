"""Where resets lead."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.audits.standing import Standing, standing_after

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ORDER = [Standing.NORMAL, Standing.WATCHED, Standing.QUARANTINED]


def days_ago(*days: float) -> list[datetime]:
    return [NOW - timedelta(days=each) for each in days]


def test_three_resets_in_thirty_days_are_watched_and_five_are_locked_out():
    assert standing_after([], NOW) is Standing.NORMAL
    assert standing_after(days_ago(1, 2), NOW) is Standing.NORMAL
    assert standing_after(days_ago(1, 2, 29.9), NOW) is Standing.WATCHED
    assert standing_after(days_ago(1, 2, 3, 4), NOW) is Standing.WATCHED
    assert standing_after(days_ago(1, 2, 3, 4, 5), NOW) is Standing.QUARANTINED


def test_a_reset_of_thirty_days_ago_counts_no_more():
    assert standing_after(days_ago(1, 2, 30), NOW) is Standing.NORMAL


@given(st.lists(st.floats(0, 60), max_size=9), st.floats(0, 60), st.randoms())
def test_one_more_reset_never_helps_and_their_order_does_not_matter(days, more, rng):
    resets = days_ago(*days)
    worse = [*resets, *days_ago(more)]
    rng.shuffle(worse)
    assert ORDER.index(standing_after(worse, NOW)) >= ORDER.index(standing_after(resets, NOW))
