"""A prepared process: it has imported both sandboxes and forks one walled-in child for each model.

    python -m bench.hostile.zygote FOLDER

reads one JSON request a line ({"path", "side", "facts"?}) and answers with one JSON line. It stands for the process
that the walls must protect: the server's, or the agent's. Its folder is the children's working folder and holds bait.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # its thread would stay outside of the walls

from bench.hostile import car, server

# Wall seconds that the agent, or the server, gives a child: the last of the limits.
WALL_SECONDS: Final = 20.0
_SIDES: Final[dict[str, Callable[[bytes, dict[str, Any]], dict[str, Any]]]] = {
    "server": server.examine,
    "car": car.load_and_run,
}


def main() -> None:
    """Answer requests until standard input ends."""
    folder = Path(sys.argv[1])
    os.chdir(folder)
    secret = (folder.parent / "secret.bin").read_bytes()
    memory = ctypes.create_string_buffer(secret)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    server.warm_up()
    print(json.dumps({"secret_address": ctypes.addressof(memory), "pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        content = Path(request["path"]).read_bytes()
        request["secret"] = secret
        print(json.dumps(_run(_SIDES[request["side"]], content, request)), flush=True)


def _run(act: Callable[[bytes, dict[str, Any]], dict[str, Any]], content: bytes, request: dict[str, Any]) -> Any:
    """Fork, have the child act, and return what it answered and how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _silence()
        _answer(writing, act, content, request)
    os.close(writing)
    return _wait(pid, reading)


def _silence() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _answer(writing: int, act: Callable[[bytes, dict[str, Any]], dict[str, Any]], content: bytes, request: Any) -> None:
    """Act and write the answer; never returns."""
    try:
        answer = act(content, request)
    except BaseException as error:  # noqa: BLE001 - what came up is the answer
        answer = {"raised": f"{type(error).__name__}: {error}"[:500]}
    left = memoryview(json.dumps(answer).encode())
    while left:
        left = left[os.write(writing, left) :]
    os._exit(0)


def _wait(pid: int, reading: int) -> dict[str, Any]:
    deadline, answer = time.monotonic() + WALL_SECONDS, b""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    overdue = False
    while True:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            overdue = True
            break
        piece = os.read(reading, 65536)
        if not piece:
            break
        answer += piece
    os.close(reading)
    if overdue:
        os.kill(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    return {
        "answer": json.loads(answer) if answer and not overdue else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "overdue": overdue,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "memory_bytes": used.ru_maxrss * 1024,
    }


if __name__ == "__main__":
    main()
