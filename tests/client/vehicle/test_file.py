"""A JSON document in a file or on a stream: whole truths, times believed or not, and errors that say nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetclient.vehicle.file import DOCUMENT_BYTES_MAX, DocumentRefused, FileSource, StreamSource, read_document
from fleetclient.vehicle.signals import BOOLEAN_SIGNALS, SIGNALS
from tests.client.vehicle.hearing import Bell, age, keeps, known, value, wait_until


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    made = FileSource(tmp_path / "car.json", poll_seconds=0.005)
    made.start(Bell().ring)
    yield made
    made.stop()


def write(folder: Path, content: str) -> None:
    (folder / "car.new").write_text(content)
    (folder / "car.new").replace(folder / "car.json")


def test_a_file_that_comes_later_is_waited_for(tmp_path: Path, source: FileSource) -> None:
    wait_until(lambda: "No such file" in source.problem)
    write(tmp_path, '{"parked": true, "soc_pct": 81}')
    wait_until(lambda: known(source) == {"parked": True, "soc_pct": 81.0})
    assert source.problem == ""
    assert age(source, "parked") < 60.0


@pytest.mark.parametrize(("make", "problem"), [(os.mkfifo, "this is no file"), (os.mkdir, "Is a directory")])
def test_what_is_no_file_is_told_and_keeps_nobody_waiting(
    tmp_path: Path, source: FileSource, make: Any, problem: str
) -> None:
    make(tmp_path / "car.json")
    wait_until(lambda: problem in source.problem)
    assert known(source) == {}
    (tmp_path / "car.json").rename(tmp_path / "aside")
    write(tmp_path, '{"parked": true}')
    wait_until(lambda: known(source) == {"parked": True})


def test_each_document_is_the_whole_truth(tmp_path: Path, source: FileSource) -> None:
    write(tmp_path, '{"parked": true, "plugged_in": true}')
    wait_until(lambda: known(source) == {"parked": True, "plugged_in": True})
    write(tmp_path, '{"parked": true}')
    wait_until(lambda: known(source) == {"parked": True})


def test_a_half_written_file_leaves_the_last_good_one_which_grows_old(tmp_path: Path, source: FileSource) -> None:
    observed_at = int(time.time()) - 100
    write(tmp_path, json.dumps({"parked": True, "observed_at": observed_at}))
    wait_until(lambda: known(source) == {"parked": True})
    (tmp_path / "car.json").write_text('{"parked": false, "sec')
    wait_until(lambda: "half-written" in source.problem)
    assert known(source) == {"parked": True}
    assert age(source, "parked") >= 100.0
    assert "false" not in source.problem
    (tmp_path / "car.json").write_text('{"parked": false}')
    wait_until(lambda: known(source) == {"parked": False})


def test_a_rewritten_file_of_the_same_length_is_noticed(tmp_path: Path, source: FileSource) -> None:
    for soc in (10, 11, 12, 13):
        (tmp_path / "car.json").write_text(f'{{"soc_pct": {soc}}}')
        wait_until(lambda: value(source, "soc_pct") == float(soc))  # noqa: B023 - called before the next round


def test_an_old_file_is_old_news(tmp_path: Path, source: FileSource) -> None:
    (tmp_path / "car.new").write_text('{"parked": true}')
    os.utime(tmp_path / "car.new", (time.time() - 3600,) * 2)
    (tmp_path / "car.new").replace(tmp_path / "car.json")
    wait_until(lambda: known(source) == {"parked": True})
    assert 3590.0 < age(source, "parked") < 3700.0


def test_touching_a_file_makes_it_news(tmp_path: Path, source: FileSource) -> None:
    (tmp_path / "car.json").write_text('{"parked": true}')
    os.utime(tmp_path / "car.json", (time.time() - 3600,) * 2)
    wait_until(lambda: known(source) == {"parked": True} and age(source, "parked") > 3000.0)
    os.utime(tmp_path / "car.json")
    wait_until(lambda: age(source, "parked") < 60.0)


@pytest.mark.parametrize("ahead", [60.0, 1e9])
def test_a_time_in_the_future_is_not_trusted(tmp_path: Path, source: FileSource, ahead: float) -> None:
    write(tmp_path, '{"parked": true}')
    wait_until(lambda: known(source) == {"parked": True})
    write(tmp_path, json.dumps({"parked": True, "observed_at": time.time() + ahead}))
    wait_until(lambda: known(source) == {})
    assert "in the future" in source.problem


def test_a_file_dated_in_the_future_is_not_trusted_either(tmp_path: Path, source: FileSource) -> None:
    (tmp_path / "car.new").write_text('{"parked": true}')
    os.utime(tmp_path / "car.new", (time.time() + 3600,) * 2)
    (tmp_path / "car.new").replace(tmp_path / "car.json")
    wait_until(lambda: "in the future" in source.problem)
    assert known(source) == {}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "must be an object"),
        ("nonsense", "not JSON"),
        ('{"soc_pct": NaN}', "not JSON"),
        ("[" * 100_000, "larger than"),
        ("[" * 60_000, "not JSON"),
        ('{"plugged_inn": true}', "did you mean plugged_in"),
        ('{"latitude": 48.137154}', "'latitude' is not a signal"),
        ('{"observed_at": "now"}', "Unix time"),
        ('{"observed_at": true}', "Unix time"),
        ('{"observed_at": -5}', "Unix time"),
        ('{"observed_at": 1' + "0" * 400 + "}", "Unix time"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused_with_a_reason_and_without_its_content(
    content: str, problem: str
) -> None:
    with pytest.raises(DocumentRefused, match=problem) as refusal:
        read_document(content.encode())
    assert "48.137" not in str(refusal.value)


def test_values_of_the_wrong_type_are_unknown_and_the_others_count() -> None:
    document = {
        "parked": 1, "plugged_in": "yes", "charging": None, "soc_pct": "80", "charge_limit_pct": True,
        "cabin_temp_c": 1e6, "pack_temp_c": 10**400, "user_present": False,
    }  # fmt: skip
    values, observed_at = read_document(json.dumps(document).encode())
    assert {name: each for name, each in values.items() if each is not None} == {"user_present": False}
    assert set(values) == set(document)
    assert observed_at is None


@given(st.dictionaries(st.sampled_from(SIGNALS), st.none() | st.booleans() | st.integers() | st.floats() | st.text()))
def test_whatever_a_document_says_signals_are_of_their_types_or_unknown(document: dict[str, object]) -> None:
    try:
        values, _ = read_document(json.dumps(document).encode())
    except DocumentRefused:
        return  # NaN and Infinity
    for name, each in values.items():
        assert each is None or type(each) is (bool if name in BOOLEAN_SIGNALS else float)


def test_a_place_in_a_document_is_not_kept(tmp_path: Path, source: FileSource) -> None:
    write(tmp_path, '{"parked": true}')
    wait_until(lambda: known(source) == {"parked": True})
    write(tmp_path, '{"parked": true, "location": "48.137154, 11.576124"}')
    wait_until(lambda: "'location'" in source.problem)
    assert keeps(source, "car.json")
    assert not keeps(source, "48.137")


class Stream:
    """A stream source at the reading end of a pipe."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self.bell = Bell()
        self.source = StreamSource(self._reader)
        self.source.start(self.bell.ring)

    def say(self, content: bytes) -> None:
        while content:
            content = content[os.write(self._writer, content) :]

    def end(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def close(self) -> None:
        self.source.stop()
        self.end()
        os.close(self._reader)


@pytest.fixture
def stream() -> Iterator[Stream]:
    made = Stream()
    yield made
    made.close()


def test_a_stream_says_one_document_a_line_in_whatever_pieces_it_comes(stream: Stream) -> None:
    stream.say(b'{"parked": true}\n\n{"parked": fal')
    wait_until(lambda: known(stream.source) == {"parked": True})
    stream.say(b'se, "soc_pct": 50}\n')
    wait_until(lambda: known(stream.source) == {"parked": False, "soc_pct": 50.0})
    assert stream.source.problem == ""


def test_a_bad_line_changes_nothing_and_the_next_good_one_counts(stream: Stream) -> None:
    stream.say(b'{"parked": true}\nrubbish\n')
    wait_until(lambda: "not JSON" in stream.source.problem)
    assert known(stream.source) == {"parked": True}
    stream.say(b'{"parked": false}\n')
    wait_until(lambda: known(stream.source) == {"parked": False})


def test_a_line_without_end_is_refused_and_takes_no_memory(stream: Stream) -> None:
    for _ in range(64):
        stream.say(b"x" * DOCUMENT_BYTES_MAX)
    stream.say(b"\n")
    wait_until(lambda: "larger than" in stream.source.problem)
    assert len(stream.source._rest) <= DOCUMENT_BYTES_MAX + 1
    stream.say(b'{"parked": true}\n')
    wait_until(lambda: known(stream.source) == {"parked": True})


def test_the_end_of_a_stream_leaves_the_last_word_to_grow_old(stream: Stream) -> None:
    stream.say(b'{"parked": true}\n')
    wait_until(lambda: known(stream.source) == {"parked": True})
    stream.end()
    wait_until(lambda: "ended" in stream.source.problem)
    assert known(stream.source) == {"parked": True}
