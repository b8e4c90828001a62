"""The owner's wishes: with and without a running agent, over restarts, through the socket and through the file."""

from __future__ import annotations

import json
import math
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetclient.control import CONTROL_FILE, Control, ControlState
from fleetclient.control_socket import (
    SOCKET_FILE,
    AgentNotRunning,
    ControlRefused,
    ControlServer,
    ask,
    command_car,
)

NOTHING = Control()
FOREVER = Control(paused_until_unix=math.inf)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    # Deep enough that the socket's full name would not fit into an address.
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    made = ControlServer(folder, control=ControlState(folder), status=lambda: {"state": "ready"})
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (lambda control: control.pause(1234.5), Control(paused_until_unix=1234.5)),
        (lambda control: control.pause(), FOREVER),
        (lambda control: control.stop_now(), FOREVER),
        (lambda control: control.finish(), Control(is_finishing=True)),
        (lambda control: control.resume(), NOTHING),
    ],
)
def test_a_wish_holds_at_once_and_after_a_restart(tmp_path: Path, wish: Any, expected: Control) -> None:
    control = ControlState(tmp_path)
    control.finish()
    wish(control)
    assert control.read() == expected
    assert ControlState(tmp_path).read() == expected


def test_a_wish_written_by_another_process_is_seen_at_the_next_look(tmp_path: Path) -> None:
    agent, command = ControlState(tmp_path), ControlState(tmp_path)
    assert agent.read() == NOTHING
    command.pause(99.0)
    assert agent.read() == Control(paused_until_unix=99.0)
    command.resume()
    assert agent.read() == NOTHING


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"paused_until": "soon", "finishing": false}', b"{}"])
def test_a_file_that_cannot_be_read_is_a_pause(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONTROL_FILE).write_bytes(content)
    assert ControlState(tmp_path).read() == FOREVER


def test_a_wish_counts_before_it_is_on_disk_and_also_when_it_cannot_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = ControlState(tmp_path)
    heard: list[Control] = []
    control.call_when_changed(lambda: heard.append(control.read()))

    def full(_: int) -> None:
        assert heard == [FOREVER]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        control.stop_now()
    assert control.read() == FOREVER
    monkeypatch.undo()
    assert ControlState(tmp_path).read() == NOTHING


def test_the_socket_takes_wishes_and_answers_with_the_status(server: ControlServer) -> None:
    folder, control = server._folder, server._control
    assert ask(folder, "status") == {"state": "ready"}
    assert command_car(folder, "pause", until_unix=77.0)
    assert control.read() == Control(paused_until_unix=77.0)
    assert command_car(folder, "pause")
    assert control.read() == FOREVER
    assert command_car(folder, "finish")
    assert control.read() == Control(is_finishing=True)
    assert command_car(folder, "stop_now")
    assert control.read() == FOREVER
    assert command_car(folder, "resume")
    assert control.read() == NOTHING


@pytest.mark.parametrize(
    "request_line",
    [
        b"nonsense\n",
        b"{}\n",
        b'{"command": "read"}\n',
        b'{"command": "_ask"}\n',
        b'{"command": "pause", "until_unix": "soon"}\n',
        b'{"command": ["status"]}\n',
        b'{"command": "pause", "until_unix": 1' + b"0" * 400 + b"}\n",
        b"[" * 4000 + b"\n",
        b"x" * 10_000,
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_changes_nothing(
    server: ControlServer, request_line: bytes
) -> None:
    folder = server._folder
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        descriptor = os.open(folder, os.O_RDONLY)
        connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET_FILE}")
        os.close(descriptor)
        connection.sendall(request_line)
        connection.shutdown(socket.SHUT_WR)
        answer = json.loads(connection.makefile("rb").readline())
    assert answer["ok"] is False
    assert "status, pause, resume" in answer["error"]
    assert server._control.read() == NOTHING
    assert ask(folder, "status") == {"state": "ready"}


def test_a_wish_that_cannot_be_stored_is_reported_as_such(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ControlRefused, match="holds until the agent ends"):
        ask(server._folder, "stop_now")
    assert server._control.read() == FOREVER


def test_without_an_agent_the_wish_goes_into_the_file(tmp_path: Path) -> None:
    with pytest.raises(AgentNotRunning, match="no agent answers"):
        ask(tmp_path, "status")
    assert not command_car(tmp_path, "pause", until_unix=5.0)
    assert ControlState(tmp_path).read() == Control(paused_until_unix=5.0)
    assert not command_car(tmp_path, "stop_now")
    assert ControlState(tmp_path).read() == FOREVER


def test_a_socket_left_by_a_killed_agent_is_no_agent_and_no_obstacle(tmp_path: Path) -> None:
    control = ControlState(tmp_path)
    dead = ControlServer(tmp_path, control=control, status=dict)
    dead.start()
    assert dead._listener is not None
    dead._listener.shutdown(socket.SHUT_RDWR)
    dead._listener.close()
    assert (tmp_path / SOCKET_FILE).exists()
    assert not command_car(tmp_path, "finish")
    alive = ControlServer(tmp_path, control=control, status=lambda: {"state": "ready"})
    alive.start()
    assert ask(tmp_path, "status") == {"state": "ready"}
    alive.stop()
    assert not (tmp_path / SOCKET_FILE).exists()


def test_only_this_user_can_reach_the_socket(server: ControlServer) -> None:
    assert (server._folder / SOCKET_FILE).stat().st_mode & 0o077 == 0


def test_somebody_who_says_nothing_does_not_keep_others_out(server: ControlServer) -> None:
    descriptor = os.open(server._folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(f"/proc/self/fd/{descriptor}/{SOCKET_FILE}")
        os.close(descriptor)
        assert ask(server._folder, "status") == {"state": "ready"}


def test_two_threads_with_two_wishes_leave_one_of_them_whole(tmp_path: Path) -> None:
    control = ControlState(tmp_path)
    threads = [threading.Thread(target=control.pause, args=(float(index),)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ControlState(tmp_path).read() == control.read()
    assert control.read().paused_until_unix in {float(index) for index in range(8)}
