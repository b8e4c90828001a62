"""Coming back after failures: full jitter, doubled, capped; after an outage as spread as the fleet called before."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fleetclient.agent.pace import Pace
from fleetclient.backoff import BASE_SECONDS, CAP_SECONDS, Backoff


def test_the_first_wait_is_within_two_seconds_and_none_is_over_a_quarter_of_an_hour() -> None:
    assert (BASE_SECONDS, CAP_SECONDS) == (2.0, 900.0)
    backoff = Backoff(random=random.Random(1))
    waits = [backoff.failed() for _ in range(500)]
    assert waits[0] <= 2.0
    assert 800.0 < max(waits) <= 900.0
    assert min(waits[20:]) < 100.0, "full jitter: nobody is pushed to the far end"


@given(seed=st.integers(), failures=st.integers(0, 60), spread=st.floats(0, 1e5), asked=st.none() | st.floats(0, 1e6))
def test_no_wait_is_under_what_the_server_asks_nor_over_the_cap(
    seed: int, failures: int, spread: float, asked: float | None
) -> None:
    backoff = Backoff(failures=failures, random=random.Random(seed))
    wait = backoff.failed(asked, spread_seconds=spread)
    floor = 0.0 if asked is None else min(asked, 86_400.0)
    assert floor <= wait <= floor + (CAP_SECONDS if asked is None else BASE_SECONDS)


def first_calls_after_an_outage(cars: int, *, pace_seconds: float, outage_seconds: float) -> list[float]:
    """Return when each car is heard again, in seconds after the server came back at `outage_seconds`."""
    heard = []
    for seed in range(cars):
        rng = random.Random(seed)
        pace = Pace(now=0.0, backoff=Backoff(random=rng))
        pace.answered(0.0, pace_seconds)
        pace._next_at = rng.uniform(0.0, pace_seconds)
        while pace.due_at() < outage_seconds:
            pace.failed(pace.due_at(), None)
        heard.append(pace.due_at() - outage_seconds)
    return heard


def test_after_an_outage_the_fleet_comes_back_as_evenly_as_it_called_before() -> None:
    cars, pace_seconds = 4000, 600.0
    heard = first_calls_after_an_outage(cars, pace_seconds=pace_seconds, outage_seconds=3600.0)
    assert max(heard) <= CAP_SECONDS
    buckets = [sum(start <= at < start + 60.0 for at in heard) for start in range(0, 600, 60)]
    usual = cars * 60.0 / pace_seconds
    assert max(buckets) < 3 * usual, "no minute is a stampede"


def test_a_hiccup_is_mended_within_seconds() -> None:
    backoff = Backoff(random=random.Random(3))
    assert backoff.failed(spread_seconds=3600.0) <= 2.0
    assert backoff.failed(spread_seconds=3600.0) <= 4.0
    assert max(Backoff(failures=2, random=random.Random(seed)).failed(spread_seconds=600.0) for seed in range(99)) > 300


def test_success_forgets_the_failures() -> None:
    backoff = Backoff(failures=9)
    backoff.succeeded()
    assert backoff.failed() <= 2.0
