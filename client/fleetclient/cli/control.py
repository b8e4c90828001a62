"""`status`, `pause`, `resume`, `finish`, `stop-now`: looking at the car and telling it what to do, at once.

They work without a network and, but for `status`, without a running agent: the wish then waits in the state folder.
"""

from __future__ import annotations

import json
import math
import time
from typing import Any

from fleetclient.cli.session import EXIT_NOT_RUNNING, EXIT_OK, Session
from fleetclient.cli.times import read_until
from fleetclient.clock import wall_seconds
from fleetclient.control_socket import command_car
from fleetclient.words import say_bytes, say_moment, say_seconds

WATCH_SECONDS = 1.0


def status(session: Session) -> int:
    """Say what the car is doing."""
    if session.options.watch:
        return _watch(session)
    found = session.status()
    session.show(found, describe(found, session))
    return EXIT_OK


def pause(session: Session) -> int:
    """Stop work until a time."""
    now = wall_seconds()
    until = read_until(session.options.for_how_long, now_unix=now, zone=session.zone)
    is_heard = command_car(session.state.folder, "pause", until_unix=None if math.isinf(until) else until)
    shown = say_moment(until, now_unix=now, zone=session.zone)
    return _answer(session, f"Paused until {shown}.", is_heard, paused_until=None if math.isinf(until) else until)


def resume(session: Session) -> int:
    """End a pause."""
    return _command(session, "resume", "Resumed: the car works when its rules allow.")


def finish(session: Session) -> int:
    """Finish what is held."""
    return _command(session, "finish", "The car finishes what it holds and takes no more until you resume.")


def stop_now(session: Session) -> int:
    """Stop at once."""
    return _command(session, "stop_now", "Stopped. The car stays so until you resume.")


def describe(found: dict[str, Any], session: Session) -> str:
    """Return a status document for people."""
    if not found["running"]:
        return "The agent is not running."
    lines = [str(found["sentence"])]
    now = wall_seconds()
    for gate in found["gates"]:
        is_finishing = gate["name"] == "finishing" and found["pause"]["finishing"]
        if (is_finishing or not gate["open"]) and gate["detail"] != found["sentence"]:
            until = gate["until"]
            when = f" (until {say_moment(until, now_unix=now, zone=session.zone)})" if until else ""
            lines.append(f"  - {gate['detail'] or gate['reason']}{when}")
    usage = found["usage"]
    lines.append(
        f"Today: worked {say_seconds(usage['worked_seconds_today'])}, {say_bytes(usage['bytes_today'])} moved,"
        f" {found['completed']} units finished since the agent began."
    )
    return "\n".join(lines)


def _command(session: Session, command: str, text: str) -> int:
    return _answer(session, text, command_car(session.state.folder, command))


def _answer(session: Session, text: str, is_heard: bool, **more: object) -> int:  # noqa: FBT001
    note = "" if is_heard else " No agent is running; it holds for the next one."
    session.show({"done": True, "agent_running": is_heard, **more}, text + note)
    return EXIT_OK


def _watch(session: Session) -> int:
    shown = ""
    while True:
        found = session.status()
        text = json.dumps(found) if session.wants_json else describe(found, session)
        if text != shown:
            print(text, flush=True)
            shown = text
        if not found["running"]:
            return EXIT_NOT_RUNNING
        time.sleep(WATCH_SECONDS)
