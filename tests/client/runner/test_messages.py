"""What a runner that was taken over may say: nothing that the agent stumbles over."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from fleetclient.runner.jobs import UnitDone, event_message, read_event
from fleetclient.runner.pipes import Inbox, MessageReader, PipeBroken, encode_message, read_file, send_message

DONE = {"event": "done", "token": "unit", "digest": "ab" * 32, "output_bytes": 10, "cpu_seconds": 0.5}
READY = {"event": "ready", "load_seconds": 1.0, "confinement": {"seccomp": True}}


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"event": "nonsense"},
        {"event": ["done"]},
        {"event": None},
        DONE | {"digest": 5},
        DONE | {"digest": "ab"},
        DONE | {"digest": "zz" * 32},
        DONE | {"token": {"a": 1}},
        DONE | {"token": "\ud800"},
        DONE | {"token": "t" * 2000},
        DONE | {"output_bytes": -1},
        DONE | {"output_bytes": 1.5},
        DONE | {"output_bytes": True},
        DONE | {"output_bytes": 10**30},
        DONE | {"cpu_seconds": float("nan")},
        DONE | {"cpu_seconds": float("inf")},
        DONE | {"cpu_seconds": "1"},
        DONE | {"cpu_seconds": 1e9},
        DONE | {"token": "un\0it"},
        DONE | {"more": 1},
        {name: value for name, value in DONE.items() if name != "digest"},
        {"event": "failed", "token": "unit", "reason": "because", "detail": ""},
        {"event": "failed", "token": "unit", "reason": ["run_failed"], "detail": ""},
        {"event": "progress", "token": "unit", "rows_done": None},
        READY | {"confinement": {"seccomp": 1}},
        READY | {"confinement": ["seccomp"]},
        READY | {"confinement": {"sec\0comp": True}},
        READY | {"confinement": {"w" * 41: True}},
        READY | {"confinement": {f"wall_{number}": True for number in range(33)}},
        {"event": "exited", "returncode": 0, "last_words": ""},
    ],
)
def test_a_message_that_is_no_event_is_refused(message: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_event(json.loads(json.dumps(message)))


def test_an_event_comes_out_as_it_went_in() -> None:
    done = UnitDone(token="unit", digest="ab" * 32, output_bytes=10, cpu_seconds=0.5)
    assert read_event(event_message(done)) == done


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{", b"\xff", b"[" * 60_000, b"1" * 60_000, b'{"a":' * 9000])
def test_bytes_that_are_no_message_break_the_pipe(content: bytes) -> None:
    with pytest.raises(PipeBroken):
        MessageReader().feed(struct.pack(">I", len(content)) + content)


def test_a_message_without_end_breaks_the_pipe_at_its_length() -> None:
    with pytest.raises(PipeBroken, match="too long"):
        MessageReader().feed(b"\xff\xff\xff\xff")
    with pytest.raises(PipeBroken, match="too long"):
        encode_message({"detail": "d" * 70_000})


def test_files_travel_with_the_messages_they_belong_to_however_the_bytes_are_cut(tmp_path) -> None:
    ours, theirs = socket.socketpair()
    inbox = Inbox(theirs)
    for number in range(3):
        (tmp_path / f"file{number}").write_bytes(b"content %d" % number)
        with (tmp_path / f"file{number}").open("rb") as file:
            send_message(ours, {"number": number}, [file.fileno()] * number)
    heard = inbox.receive_now()
    assert [delivery.message for delivery in heard] == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert [len(delivery.files) for delivery in heard] == [0, 1, 2]
    assert [read_file(file) for delivery in heard for file in delivery.files] == [b"content 1"] + [b"content 2"] * 2
    ours.close()
    assert inbox.receive() is None
    theirs.close()
