"""The agent's own door: a UNIX socket in the state folder, one JSON line in, one JSON line out.

Commands: `status`, `pause` (`until_unix`, null for until resumed), `resume`, `finish`, `stop_now`. An answer is
`{"ok": true, "status": <the status document>}` or `{"ok": false, "error": "…"}`. Only this user and root may speak.
"""

from __future__ import annotations

import json
import math
import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from fleetclient.control import ControlState
from fleetclient.errors import ClientError

SOCKET_FILE = "control.sock"
REQUEST_BYTES_MAX = 4096
ANSWER_BYTES_MAX = 1024 * 1024
TALK_SECONDS = 5.0
# Somebody on the same machine who connects has something to say; the others wait behind.
HEAR_SECONDS = 1.0
COMMANDS = ("status", "pause", "resume", "finish", "stop_now")
_PEER = struct.Struct("3i")


class AgentNotRunning(ClientError):
    """No agent answers at the control socket of this state folder; start one with `fleetclient run`."""

    code: ClassVar[str] = "agent_not_running"


class ControlRefused(ClientError):
    """The agent did not understand a command, or could not store it."""

    code: ClassVar[str] = "control_refused"


class ControlServer:
    """Answers on a thread of its own, so that a pause is heard whatever the agent's loop is doing."""

    def __init__(self, folder: Path, *, control: ControlState, status: Callable[[], dict[str, Any]]) -> None:
        self._folder = folder
        self._control = control
        self._status = status
        self._listener: socket.socket | None = None

    def start(self) -> None:
        """Begin to listen. The caller holds the folder's lock, so an old socket file belongs to nobody."""
        (self._folder / SOCKET_FILE).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous = os.umask(0o177)
        try:
            with _ShortPath(self._folder) as path:
                listener.bind(path)
        finally:
            os.umask(previous)
        listener.listen(8)
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), name="fleetclient-control", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._listener is not None:
            (self._folder / SOCKET_FILE).unlink(missing_ok=True)
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed by `stop`
            with connection, suppress(OSError):  # whoever hangs up early wants no answer
                connection.settimeout(HEAR_SECONDS)
                if _is_ours(connection):
                    request = _read_line(connection, REQUEST_BYTES_MAX)
                    connection.sendall(json.dumps(self._answer(request)).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            self._act(request["command"], request)
            return {"ok": True, "status": self._status()}
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return {"ok": False, "error": f"a request is a JSON object with a command of {', '.join(COMMANDS)}"}
        except OSError as error:
            return {"ok": False, "error": f"it holds until the agent ends, but could not be stored: {error.strerror}"}

    def _act(self, command: str, request: dict[str, Any]) -> None:
        if command == "pause":
            until = request.get("until_unix")
            self._control.pause(math.inf if until is None else float(until))
        elif command in COMMANDS:
            if command != "status":
                getattr(self._control, command)()
        else:
            raise ValueError(command)


def ask(folder: Path, command: str, **fields: object) -> dict[str, Any]:
    """Return the status document after a command to the running agent; raises AgentNotRunning, ControlRefused."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TALK_SECONDS)
        try:
            with _ShortPath(folder) as path:
                connection.connect(path)
            connection.sendall(json.dumps({"command": command, **fields}).encode() + b"\n")
            line = _read_line(connection, ANSWER_BYTES_MAX)
        except OSError as error:
            raise AgentNotRunning(f"no agent answers in {folder} ({error.strerror or error})") from None
    return _read_answer(line, folder)


def command_car(folder: Path, command: str, *, until_unix: float | None = None) -> bool:
    """Make a wish known: to the running agent at once (True), else in the file for when one runs (False)."""
    fields = {"until_unix": until_unix} if command == "pause" else {}
    try:
        ask(folder, command, **fields)
    except AgentNotRunning:
        control = ControlState(folder)
        if command == "pause":
            control.pause(math.inf if until_unix is None else until_unix)
        else:
            getattr(control, command)()
        return False
    return True


class _ShortPath:
    """A name of the socket that fits into a socket's address (108 bytes) however deep the folder is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> str:
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}/{SOCKET_FILE}"

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _is_ours(connection: socket.socket) -> bool:
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return uid in (0, os.geteuid())


def _read_line(connection: socket.socket, bytes_max: int) -> bytes:
    content = bytearray()
    while not content.endswith(b"\n") and len(content) < bytes_max:
        piece = connection.recv(65536)
        if not piece:
            break
        content += piece
    return bytes(content)


def _read_answer(line: bytes, folder: Path) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        raise AgentNotRunning(f"the agent in {folder} hung up; look at its log") from None
    if not answer["ok"]:
        raise ControlRefused(str(answer["error"]))
    status: dict[str, Any] = answer["status"]
    return status
