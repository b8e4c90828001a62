"""The self-test as the agent makes it: while the car may not work for want of it, and never while the car is needed."""

from __future__ import annotations

from pathlib import Path

import psutil

from fleetclient.agent.background import Ended
from fleetclient.agent.selftesting import SELFTEST, SelfTesting
from fleetclient.selftest import read_report


def make_chore(tmp_path: Path, *, may_run: bool = True) -> tuple[SelfTesting, list[str]]:
    news: list[str] = []
    chore = SelfTesting(
        state_dir=tmp_path,
        settings={},
        is_required=True,
        may_run=lambda: may_run,
        news=lambda: news.append("news"),
    )
    return chore, news


def test_a_car_that_lacks_only_its_self_test_makes_it_and_is_free(tmp_path: Path) -> None:
    chore, news = make_chore(tmp_path)
    assert chore.stop_reason() == "a self-test is due: no self-test was made yet"
    assert chore.seconds_until_due(0.0) == 0.0
    chore.prepare(0.0)()
    chore.settle(Ended(kind=SELFTEST), 1.0)
    assert chore.has_passed
    assert (chore.stop_reason(), news) == ("", ["news"])
    assert chore.seconds_until_due(1.0) > 0


def test_a_car_that_is_needed_ends_the_test_at_once_and_stays_untested(tmp_path: Path) -> None:
    chore, news = make_chore(tmp_path, may_run=False)
    assert chore.seconds_until_due(0.0) == float("inf")
    chore.prepare(0.0)()
    children = psutil.Process().children(recursive=True)
    assert [child for child in children if "fleetclient" in " ".join(child.cmdline())] == []
    chore.settle(Ended(kind=SELFTEST), 1.0)
    assert read_report(tmp_path) is None
    assert (chore.has_passed, news) == (False, [])
