"""The status document: everything that `status`, the local page and Home Assistant may show. They read nothing else.

It is stored as `status.json` in the state folder whenever something in it (but the clock) has changed, and the control
socket answers `{"command": "status"}` with a fresh one. Every member is always there; None means not known.

    version            1
    at                 Unix seconds, this machine's clock, when the document was made
    pid, stopped       the agent's process id; True in the last document of an agent that has ended
    agent              {"version", "runtime", "comparison_class"}
    car, vehicle_id    the car's name in its configuration; its id, None before pairing
    state              working | ready | waiting | paused | offline | attention | suspended | stopped
    sentence           one English sentence for people
    eligible, reasons  may the car compute now; the closed gates' reason codes, the most telling first
    until              Unix seconds: not eligible: the earliest start; eligible: the latest end; None when nobody knows
    next_check_seconds  the verdict cannot change by the passing of time alone before then
    signals            name -> None (never heard of) or {"value": bool | number | None, "age_seconds", "source"}
    gates              [{"name", "open", "reason", "detail", "until"}] in the order of the rules
    online             did the last talk with the server succeed
    last_contact_at    Unix seconds of the last good sync of this process, None before it
    next_sync_seconds  until the next sync
    clock_skew_seconds  the server's clock less this machine's
    units              {"held", "finished", "kept", "uploading", "returning"}: how many; the server may still ask for
                       the outputs of those kept, which are no more counted as finished
    completed          units finished since the agent began
    rows_done, rows    of the unit that is being run; None when none is
    runner             None or {"pid", "frozen", "model" (12 hex digits), "walls": name -> holds}
    walls              {"refused": why nothing can be confined here, "" if it can, "holds": name -> bool}
    trust              {"mode", "stop_reason"}: stop_reason is "" unless the fleet was stopped
    models_refused     [{"model" (12 hex digits), "until"}]: they crashed too often
    pause              {"until": Unix seconds or None, "forever": bool, "finishing": bool}
    usage              {"bytes_today", "bytes_this_month", "worked_seconds_today", "energy_wh_today"}
    power_w            estimate of what the work draws now, 0 while nothing runs; None without an estimate
    net_per_hour, net_today   in the owner's currency, None when no price or pay is known
    device_temp_c      of this computer, None where no sensor is
    network            {"allowed": bool | None}; its name stays in the car
    messages           the server's last messages to the owner: [{"at", "level", "code", "text"}], at most 20
    error              what last went wrong, "" when nothing did: {"at", "code", "text"} or None
"""

from __future__ import annotations

import math
import os
from typing import Any

from fleetclient.agent.keeping import list_kept
from fleetclient.agent.rig import Rig
from fleetclient.agent.watch import SUSPENDED, Look
from fleetclient.clock import wall_seconds
from fleetclient.journal import Journal
from fleetclient.units import UnitState

VERSION = 1
MODEL_CHARS = 12
# Members that change by the mere passing of time: no reason to write the document anew.
_PASSING = ("at", "next_check_seconds", "next_sync_seconds")
_SIGNALS_PASSING = "age_seconds"


def describe(rig: Rig, *, is_stopped: bool = False) -> dict[str, Any]:
    """Return the status document of an agent. Called by the agent's thread."""
    agent, look = rig.agent, rig.watcher.look
    parts = agent.parts
    given = parts.workshop.given_tokens
    running = parts.journal.get(given[0]) if given else None
    document = {
        "version": VERSION,
        "at": wall_seconds(),
        "pid": os.getpid(),
        "stopped": is_stopped,
        **_who(rig),
        "eligible": agent.state.eligible,
        "reasons": list(agent.state.reasons),
        **_verdict(look),
        **_talk(rig),
        "units": _count_units(parts.journal),
        "completed": agent.completed_count,
        "rows_done": parts.workshop.rows_done if running else None,
        "rows": running.lease.rows if running else None,
        **_work(rig),
        **_owner(rig, look),
    }
    state = "stopped" if is_stopped else state_word(document)
    return document | {"state": state, "sentence": _sentence(state, document)}


def _count_units(journal: Journal) -> dict[str, int]:
    counts = {state.value: len(journal.list_units(state)) for state in UnitState}
    kept = len(list_kept(journal))
    return counts | {"finished": counts["finished"] - kept, "kept": kept}


def fingerprint(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without what the passing of time alone changes."""
    kept = {name: value for name, value in document.items() if name not in _PASSING}
    signals = document["signals"]
    kept["signals"] = {
        name: reading and {key: value for key, value in reading.items() if key != _SIGNALS_PASSING}
        for name, reading in signals.items()
    }
    return kept


def state_word(document: dict[str, Any]) -> str:
    """Return the one word for what the car is doing, the most telling first."""
    reasons = document["reasons"]
    if SUSPENDED in reasons:
        return "suspended"
    if "unconfined" in reasons:
        return "attention"
    if "paused_user" in reasons:
        return "paused"
    if not document["eligible"]:
        return "waiting"
    if document["rows"] is not None:
        return "working"
    return "ready" if document["online"] else "offline"


def _who(rig: Rig) -> dict[str, Any]:
    info = rig.agent.parts.info()
    return {
        "agent": {"version": info.version, "runtime": info.runtime, "comparison_class": info.comparison_class},
        "car": rig.agent.parts.config.name,
        "vehicle_id": rig.vehicle_id,
    }


def _verdict(look: Look | None) -> dict[str, Any]:
    if look is None:
        return {"until": None, "next_check_seconds": None, "signals": {}, "gates": []}
    decision = look.decision
    return {
        "until": decision.until_unix,
        "next_check_seconds": decision.next_check_seconds,
        "signals": {
            name: reading
            and {
                "value": reading.value,
                "age_seconds": round(max(0.0, look.at.elapsed - reading.observed_at), 1),
                "source": reading.source,
            }
            for name, reading in look.signals
        },
        "gates": [
            {
                "name": gate.name,
                "open": gate.is_open,
                "reason": gate.reason,
                "detail": gate.detail,
                "until": gate.until_unix,
            }
            for gate in decision.gates
        ],
    }


def _talk(rig: Rig) -> dict[str, Any]:
    syncing = rig.agent.syncing
    return {
        "online": not syncing.is_offline,
        "last_contact_at": syncing.last_contact_at,
        "next_sync_seconds": round(max(0.0, syncing.pace.due_at() - rig.now()), 1),
        "clock_skew_seconds": _rounded(rig.agent.parts.network.clock_skew_seconds),
        "messages": syncing.messages,
        "error": syncing.last_error,
    }


def _work(rig: Rig) -> dict[str, Any]:
    workshop = rig.agent.parts.workshop
    runner = workshop.runner
    shown = runner and {
        "pid": runner.pid,
        "frozen": workshop.is_frozen,
        "model": runner.settings.contract.model.sha256[:MODEL_CHARS],
        "walls": workshop.walls,
    }
    refused = rig.crashes.list_refused(now=rig.unix())
    return {
        "runner": shown,
        "walls": {"refused": rig.walls.reason_refused, "holds": rig.walls.walls},
        "trust": {"mode": rig.agent.parts.config.trust.mode, "stop_reason": rig.gate.stop_reason()},
        "models_refused": [
            {"model": name[:MODEL_CHARS], "until": entry.refused_until} for name, entry in refused.items()
        ],
    }


def _owner(rig: Rig, look: Look | None) -> dict[str, Any]:
    control, today = rig.control.read(), rig.usage.today()
    until = control.paused_until_unix
    is_forever = until == math.inf
    return {
        "pause": {"until": None if is_forever else until, "forever": is_forever, "finishing": control.is_finishing},
        "usage": {
            "bytes_today": today.bytes_moved,
            "bytes_this_month": rig.usage.bytes_this_month,
            "worked_seconds_today": round(today.worked_seconds),
            "energy_wh_today": round(today.energy_wh, 1),
        },
        "power_w": round(rig.power.watts(is_working=rig.agent.parts.workshop.is_working), 1),
        "net_per_hour": look.facts.net_per_hour if look else None,
        "net_today": rig.earnings.net_today(),
        "device_temp_c": look.facts.device_temp_c if look else None,
        "network": {"allowed": look.facts.on_allowed_network if look else None},
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _sentence(state: str, document: dict[str, Any]) -> str:
    closed = [gate for gate in document["gates"] if not gate["open"]]
    detail = closed[0]["detail"] if closed else ""
    match state:
        case "stopped":
            return "The agent is not running."
        case "working":
            return (
                f"Working: row {document['rows_done']} of {document['rows']}; {document['completed']} units finished."
            )
        case "ready":
            return f"Waiting for work; {document['completed']} units finished."
        case "offline":
            return f"Waiting for work; {document['completed']} units finished. The server cannot be reached."
    return detail or f"The car is not available: {', '.join(document['reasons'])}."
