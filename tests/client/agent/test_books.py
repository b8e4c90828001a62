"""The owner's books: bytes, hours and energy never count less than was used; sessions say why they ended."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetclient import usage
from fleetclient.agent.timesheet import Timesheet
from fleetclient.files import write_durably
from fleetclient.history import History, Session, list_sessions
from fleetclient.usage import BYTES_AHEAD, DayUsage, UsageMeter

MIDNIGHT = 1_790_035_200.0  # a midnight in UTC
DAY = 86_400.0


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_bytes_are_counted_by_the_cars_own_days_and_months(tmp_path: Path) -> None:
    clock = Clock(MIDNIGHT - 3600.0)
    meter = UsageMeter(tmp_path / "usage.json", zone=timezone(timedelta(hours=2)), wall=clock)
    meter.add_bytes(10, 20)  # 01:00 of the next day, two hours east
    clock.now = MIDNIGHT - 3 * 3600.0
    assert meter.bytes_today == 0
    assert meter.bytes_this_month == 30
    clock.now = MIDNIGHT + 3600.0
    assert meter.bytes_today == 30


def test_a_day_of_25_hours_is_one_day(tmp_path: Path) -> None:
    # 25 October 2026 in Berlin, from 00:30 to 23:30, with the hour from 2 to 3 twice.
    clock = Clock(1_792_881_000.0)
    meter = UsageMeter(tmp_path / "usage.json", zone=ZoneInfo("Europe/Berlin"), wall=clock)
    meter.add_bytes(1, 0)
    clock.now += 24 * 3600.0
    assert meter.bytes_today == 1
    clock.now += 3600.0
    assert meter.bytes_today == 0


def test_an_orderly_end_stores_exact_counts(tmp_path: Path) -> None:
    meter = UsageMeter(tmp_path / "usage.json", wall=Clock(MIDNIGHT))
    meter.add_bytes(1000, 2000)
    meter.add_work(33.5, 0.25)
    meter.close()
    again = UsageMeter(tmp_path / "usage.json", wall=Clock(MIDNIGHT))
    assert again.today() == DayUsage(bytes_sent=1000, bytes_received=2000, worked_seconds=33.5, energy_wh=0.25)


@given(moves=st.lists(st.tuples(st.integers(0, 2 * BYTES_AHEAD), st.integers(0, 100_000)), max_size=12))
def test_after_a_crash_at_any_moment_no_byte_is_missing_and_the_excess_is_bounded(
    tmp_path_factory: object, moves: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("usage") / "usage.json"  # type: ignore[attr-defined]
    meter, clock = UsageMeter(path, wall=Clock(MIDNIGHT)), Clock(MIDNIGHT)
    sent = received = 0
    for out, back in moves:
        meter.add_bytes(out, back)
        sent, received = sent + out, received + back
        found = UsageMeter(path, wall=clock).today()  # as a restart would find it now
        assert sent <= found.bytes_sent <= sent + BYTES_AHEAD
        assert received <= found.bytes_received <= received + BYTES_AHEAD
    assert (meter.today().bytes_sent, meter.today().bytes_received) == (sent, received)


def test_a_gigabyte_in_small_pieces_costs_few_forced_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[Path] = []

    def write(path: Path, content: bytes) -> None:
        writes.append(path)
        write_durably(path, content)

    monkeypatch.setattr("fleetclient.usage.write_durably", write)
    meter = UsageMeter(tmp_path / "usage.json", wall=Clock(MIDNIGHT))
    for _ in range(16_384):
        meter.add_bytes(0, 65_536)
    assert meter.bytes_today == 2**30
    assert len(writes) <= 2**30 // BYTES_AHEAD + 1


def test_threads_lose_no_byte(tmp_path: Path) -> None:
    meter = UsageMeter(tmp_path / "usage.json", wall=Clock(MIDNIGHT))

    def move() -> None:
        for _ in range(2000):
            meter.add_bytes(1, 2)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (meter.today().bytes_sent, meter.today().bytes_received) == (8000, 16000)


def test_a_meter_that_cannot_be_read_says_so_and_counts_anew(tmp_path: Path) -> None:
    (tmp_path / "usage.json").write_text("{")
    meter = UsageMeter(tmp_path / "usage.json", wall=Clock(MIDNIGHT))
    assert meter.was_unreadable
    meter.add_bytes(1, 1)
    assert not UsageMeter(tmp_path / "usage.json").was_unreadable


def test_days_of_long_ago_are_forgotten(tmp_path: Path) -> None:
    clock = Clock(MIDNIGHT)
    meter = UsageMeter(tmp_path / "usage.json", wall=clock)
    for _ in range(usage.DAYS_KEPT + 20):
        meter.add_bytes(1, 0)
        clock.now += DAY
    meter.close()
    assert len(UsageMeter(tmp_path / "usage.json").list_days()) == usage.DAYS_KEPT


def test_a_session_says_when_how_much_and_why_it_ended(tmp_path: Path) -> None:
    history = History(tmp_path / "history.sqlite", now_unix=1000.0)
    history.add(now_unix=1000.0, units=1)
    assert list_sessions(tmp_path / "history.sqlite") == []
    history.begin(now_unix=1001.0)
    history.begin(now_unix=1002.0)
    history.add(now_unix=1010.0, units=2, rows=20, worked_seconds=8.0, energy_wh=0.5)
    open_session = Session(began_at=1001.0, ended_at=1010.0, units=2, rows=20, worked_seconds=8.0, energy_wh=0.5)
    assert list_sessions(tmp_path / "history.sqlite") == [open_session]
    history.end("driving", now_unix=1011.0, bytes_moved=77)
    ended = replace(open_session, ended_at=1011.0, reason="driving", bytes_moved=77)
    assert list_sessions(tmp_path / "history.sqlite") == [ended]
    history.end("driving", now_unix=1012.0, bytes_moved=1)
    assert list_sessions(tmp_path / "history.sqlite") == [ended]


def test_a_session_that_a_crash_cut_off_ends_at_what_was_known_of_it(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    first = History(path, now_unix=1000.0)
    first.begin(now_unix=1000.0)
    first.add(now_unix=1050.0, units=3)
    History(path, now_unix=5000.0)
    (session,) = list_sessions(path)
    assert (session.reason, session.ended_at, session.units) == ("crashed", 1050.0, 3)


def test_sessions_are_kept_for_ninety_days(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    history = History(path, now_unix=0.0)
    for day in (0, 50):
        history.begin(now_unix=day * DAY)
        history.end("driving", now_unix=day * DAY + 1.0, bytes_moved=0)
    History(path, now_unix=91 * DAY)
    assert [session.began_at for session in list_sessions(path)] == [50 * DAY]
    assert list_sessions(path, since_unix=60 * DAY) == []


def make_timesheet(tmp_path: Path) -> tuple[Timesheet, UsageMeter, Clock, Path]:
    clock, path = Clock(MIDNIGHT), tmp_path / "history.sqlite"
    meter = UsageMeter(tmp_path / "usage.json", wall=clock)
    sheet = Timesheet(usage=meter, history=History(path, now_unix=MIDNIGHT), watts=lambda: 36.0, unix=clock)
    return sheet, meter, clock, path


def test_only_the_time_in_which_the_runner_worked_is_counted(tmp_path: Path) -> None:
    sheet, meter, _, path = make_timesheet(tmp_path)
    for now, is_working in ((0.0, False), (1.0, True), (3.0, True), (4.0, False), (9.0, False), (10.0, True)):
        sheet.note(now, is_working=is_working)
    sheet.note(15.0, is_working=True)
    meter.add_bytes(5, 6)
    sheet.unit_finished(10)
    sheet.end("user_present")
    (session,) = list_sessions(path)
    # From 1 to 3 and from 10 to 15; what was between 3 and 4 was seen to be over at 4.
    assert session.worked_seconds == 7.0
    assert session.energy_wh == 7.0 * 36.0 / 3600.0
    assert (session.reason, session.units, session.rows, session.bytes_moved) == ("user_present", 1, 10, 11)
    assert meter.worked_seconds_today == 7.0


def test_a_long_time_without_work_ends_a_session(tmp_path: Path) -> None:
    sheet, _, _, path = make_timesheet(tmp_path)
    sheet.note(0.0, is_working=True)
    sheet.note(1.0, is_working=False)
    sheet.note(600.0, is_working=False)
    assert list_sessions(path)[0].reason == ""
    sheet.note(602.0, is_working=False)
    assert list_sessions(path)[0].reason == "no_work"
    sheet.note(700.0, is_working=True)
    assert len(list_sessions(path)) == 2
