"""Reasons of crashes, and the book that refuses a model after three."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from fleetclient.runner.crashes import CRASHES_MAX, FORGIVEN_SECONDS, CrashBook, CrashReason, name_crash

DAY = FORGIVEN_SECONDS
NOW = 1_800_000_000.0
MODEL, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def book(tmp_path: Path) -> CrashBook:
    return CrashBook(tmp_path / "crashes.json")


@pytest.mark.parametrize(
    ("returncode", "words", "reason"),
    [
        (0, "", CrashReason.ENDED),
        (-signal.SIGSEGV, "", CrashReason.FAULT),
        (-signal.SIGBUS, "", CrashReason.FAULT),
        (-signal.SIGSYS, "", CrashReason.BREACH),
        (-signal.SIGXCPU, "", CrashReason.PROCESSOR_TIME),
        (-signal.SIGKILL, "", CrashReason.MEMORY),
        (-signal.SIGABRT, "terminate called after throwing 'std::bad_alloc'", CrashReason.MEMORY),
        (-signal.SIGABRT, "Assertion failed", CrashReason.ABORT),
        (1, "MemoryError", CrashReason.MEMORY),
        (1, "Traceback", CrashReason.OTHER),
        (-signal.SIGTERM, "", CrashReason.OTHER),
    ],
)
def test_an_end_is_named(returncode: int, words: str, reason: CrashReason) -> None:
    assert name_crash(returncode, words) == reason


def test_the_third_crash_refuses_the_model_for_a_day_and_no_other(book: CrashBook) -> None:
    for count in range(CRASHES_MAX):
        assert not book.is_refused(MODEL, now=NOW + count)
        book.record(MODEL, CrashReason.FAULT, now=NOW + count)
    entry = book.get(MODEL, now=NOW + 2)
    assert (entry.refused_until, entry.last_reason) == (NOW + 2 + DAY, "fault")
    assert book.is_refused(MODEL, now=NOW + 2 + DAY - 1)
    assert not book.is_refused(OTHER, now=NOW + 3)
    assert list(book.list_refused(now=NOW + 3)) == [MODEL]
    assert not book.is_refused(MODEL, now=NOW + 2 + DAY)


def test_after_its_day_a_model_has_three_crashes_again(book: CrashBook) -> None:
    for count in range(CRASHES_MAX):
        book.record(MODEL, CrashReason.FAULT, now=NOW + count)
    later = NOW + 2 + DAY
    assert book.record(MODEL, CrashReason.ABORT, now=later).refused_until is None
    assert not book.is_refused(MODEL, now=later)


def test_crashes_of_more_than_a_day_ago_do_not_count(book: CrashBook) -> None:
    book.record(MODEL, CrashReason.FAULT, now=NOW)
    book.record(MODEL, CrashReason.FAULT, now=NOW + DAY / 2)
    assert book.record(MODEL, CrashReason.FAULT, now=NOW + DAY + 1).refused_until is None


def test_the_book_outlives_the_process(book: CrashBook, tmp_path: Path) -> None:
    for count in range(CRASHES_MAX):
        book.record(MODEL, CrashReason.BREACH, now=NOW + count)
    again = CrashBook(tmp_path / "crashes.json")
    assert again.get(MODEL, now=NOW + 5) == book.get(MODEL, now=NOW + 5)
    assert again.is_refused(MODEL, now=NOW + 5)


def test_a_clock_that_was_set_back_does_not_make_the_day_longer(book: CrashBook) -> None:
    for count in range(CRASHES_MAX):
        book.record(MODEL, CrashReason.FAULT, now=NOW + count)
    assert not book.is_refused(MODEL, now=NOW - 10 * DAY)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"crashed_at": 5}}', b'{"a": {"x": []}}'])
def test_a_book_that_cannot_be_read_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "crashes.json").write_bytes(content)
    book = CrashBook(tmp_path / "crashes.json")
    assert not book.is_refused(MODEL, now=NOW)
    book.record(MODEL, CrashReason.FAULT, now=NOW)
    assert CrashBook(tmp_path / "crashes.json").get(MODEL, now=NOW).crashed_at == (NOW,)
