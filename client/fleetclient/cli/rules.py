"""`rules show` and `rules explain`: what the owner allows, and what that means for the car now."""

from __future__ import annotations

import json
from typing import Any

from fleetclient.cli.session import EXIT_OK, Session
from fleetclient.clock import wall_seconds
from fleetclient.live import look_now, rules_in_force
from fleetclient.rules.explain import explain_document, explain_text
from fleetclient.rules.rules import dump_rules
from fleetclient.words import say_moment

SERVER = "server, stricter than yours"


def show(session: Session) -> int:
    """Print the rules in force: the owner's, and where the server has made them stricter."""
    config = session.config
    own, held = dump_rules(config.rules), dump_rules(rules_in_force(config))
    settings = session.loaded.settings
    origins = {name: SERVER if held[name] != own[name] else settings[f"rules.{name}"].origin for name in held}
    document = {"rules": {name: {"value": held[name], "origin": origins[name]} for name in held}}
    lines = [
        f"{f'{name} = {json.dumps(value, ensure_ascii=False)}':50}  # {origins[name]}" for name, value in held.items()
    ]
    session.show(document, "\n".join(lines))
    return EXIT_OK


def explain(session: Session) -> int:
    """Print every gate, from the running agent's last look or, without one, from a look of our own."""
    live = session.live_status()
    if live is not None:
        session.show({"from": "agent", **_of_agent(live)}, _text_of_agent(live, session))
        return EXIT_OK
    look = look_now(session.config)
    note = "No agent is running: this is what the source says now.\n"
    if look.problem:
        note += f"The source says nothing: {look.problem}.\n"
    text = note + explain_text(look.decision, look.now, time_zone=look.rules.time_zone)
    session.show({"from": "source", "problem": look.problem, **explain_document(look.decision)}, text)
    return EXIT_OK


def _of_agent(status: dict[str, Any]) -> dict[str, Any]:
    return {
        "allow": status["eligible"],
        "reasons": status["reasons"],
        "next_check_seconds": status["next_check_seconds"],
        "until_unix": status["until"],
        "gates": status["gates"],
    }


def _text_of_agent(status: dict[str, Any], session: Session) -> str:
    now = wall_seconds()
    lines = [str(status["sentence"]), ""]
    width = max((len(gate["name"]) for gate in status["gates"]), default=0)
    for gate in status["gates"]:
        mark = "open  " if gate["open"] else "CLOSED"
        until = gate["until"]
        when = f" (opens {say_moment(until, now_unix=now, zone=session.zone)})" if until and not gate["open"] else ""
        lines.append(f"{mark}  {gate['name']:{width}}  {gate['detail'] or gate['reason']}{when}")
    return "\n".join(lines)
