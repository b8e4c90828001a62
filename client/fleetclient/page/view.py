"""The status page as HTML, from the status document alone. Pure; everything that comes from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import tzinfo
from html import escape
from typing import Any

from fleetclient.words import (
    GATE_LABELS,
    SIGNAL_LABELS,
    STATES,
    UNKNOWN,
    WALL_LABELS,
    say_bytes,
    say_moment,
    say_money,
    say_seconds,
    say_value,
)

Status = Mapping[str, Any]
_WALLS_TEXT = "A stranger's model runs behind these walls:"


def render_page(status: Status, *, token: str, zone: tzinfo, currency: str) -> str:
    """Return the whole page."""
    sections = (
        ("hero", "", _hero(status, zone)),
        ("buttons", "", _buttons(status, token)),
        ("today", "Today", _today(status, currency)),
        ("work", "Work", _work(status)),
        ("car", "What the car says", _signals(status)),
        ("rules", "Your rules, one by one", _gates(status, zone)),
        ("safety", "Safety", _safety(status, zone)),
        ("messages", "Messages", _messages(status, zone)),
    )
    body = "".join(_section(name, title, content) for name, title, content in sections if content)
    car = escape(str(status["car"]))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{car}</title>"
        '<link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/page.css">'
        '<script src="/page.js" defer></script>'
        '<noscript><meta http-equiv="refresh" content="15"></noscript></head>'
        f'<body><header><p class="car">{car}</p></header><main>{body}</main>'
        f"<footer><p>fleetclient {escape(str(status['agent']['version']))}. This page never leaves this computer.</p>"
        "</footer></body></html>"
    )


def _section(name: str, title: str, content: str) -> str:
    heading = f'<h2 id="{name}-title">{title}</h2>' if title else ""
    label = f' aria-labelledby="{name}-title"' if title else ""
    return f'<section id="{name}" data-live{label}>{heading}{content}</section>'


def _hero(status: Status, zone: tzinfo) -> str:
    sign, word = STATES.get(status["state"], ("?", str(status["state"])))
    # The gate of finishing is never closed, for what is held goes on; that nothing new comes is said all the same.
    is_finishing = status["pause"]["finishing"]
    closed = [gate for gate in status["gates"] if not gate["open"] or (is_finishing and gate["name"] == "finishing")]
    items = [_reason(gate, status, zone) for gate in closed if gate["detail"] != status["sentence"]]
    reasons = f"<ul class='reasons'>{''.join(items)}</ul>" if items and not status["stopped"] else ""
    progress = _progress(status)
    return (
        f'<p class="state {escape(str(status["state"]))}"><span aria-hidden="true">{sign}</span> {escape(word)}</p>'
        f'<h1 id="sentence" role="status" aria-live="polite">{escape(str(status["sentence"]))}</h1>{progress}{reasons}'
    )


def _reason(gate: Mapping[str, Any], status: Status, zone: tzinfo) -> str:
    until = gate["until"]
    when = f" <small>until {_moment(until, status, zone)}</small>" if until else ""
    return f"<li>{escape(str(gate['detail'] or gate['reason']))}{when}</li>"


def _progress(status: Status) -> str:
    rows, done = status["rows"], status["rows_done"]
    if not rows:
        return ""
    return (
        f'<p class="progress"><progress max="{rows}" value="{done}" aria-label="Rows of this unit"></progress>'
        f" {done} of {rows} rows</p>"
    )


def _buttons(status: Status, token: str) -> str:
    pause = status["pause"]
    is_held = pause["forever"] or pause["until"] is not None or pause["finishing"]
    held = [("/resume", "▶", "Resume", "main")]
    free = [
        ("/pause-hour", "❚❚", "Pause 1 hour", "main"),
        ("/pause-morning", "❚❚", "Pause until 07:00 tomorrow", ""),
        ("/pause", "❚❚", "Pause until I resume", ""),
        ("/finish", "✓", "Finish, then stop", ""),
    ]
    forms = [*(held if is_held else free), ("/stop-now", "■", "Stop now", "danger")]
    if pause["forever"]:
        forms.pop()
    return f"<div class='buttons'>{''.join(_button(*each, token) for each in forms)}</div>"


def _button(action: str, sign: str, text: str, kind: str, token: str) -> str:
    return (
        f'<form method="post" action="{action}"><input type="hidden" name="token" value="{escape(token)}">'
        f'<button class="{kind}"><span aria-hidden="true">{sign}</span> {text}</button></form>'
    )


def _today(status: Status, currency: str) -> str:
    usage = status["usage"]
    energy, power = usage["energy_wh_today"], status["power_w"]
    cards = (
        ("Worked", say_seconds(usage["worked_seconds_today"])),
        ("Net today", say_money(status["net_today"], currency)),
        ("Energy (estimated)", UNKNOWN if energy is None else f"{energy / 1000:.2f} kWh"),
        ("Power now", UNKNOWN if power is None else f"{power:.0f} W"),
        ("Data today", say_bytes(usage["bytes_today"])),
        ("Data this month", say_bytes(usage["bytes_this_month"])),
    )
    return f"<dl class='cards'>{''.join(_card(*card) for card in cards)}</dl>"


def _card(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _work(status: Status) -> str:
    units = status["units"]
    cards = (
        ("Finished since start", str(status["completed"])),
        ("Held", str(units["held"])),
        ("Finished, not yet sent", str(units["finished"] + units["uploading"])),
        ("Sent as a digest, output kept", str(units["kept"])),
        ("Going back", str(units["returning"])),
    )
    return f"<dl class='cards'>{''.join(_card(*card) for card in cards)}</dl>"


def _signals(status: Status) -> str:
    rows = []
    for name, label in SIGNAL_LABELS.items():
        signal = status["signals"].get(name)
        value = say_value(name, signal["value"]) if signal else UNKNOWN
        age = f"{say_seconds(signal['age_seconds'])} ago" if signal and signal["age_seconds"] is not None else "never"
        source = str(signal["source"]) if signal else ""
        rows.append((label, value, f"{age}, {source}" if source else age))
    return _table(("Signal", "Value", "Heard"), rows)


def _gates(status: Status, zone: tzinfo) -> str:
    rows = []
    for gate in status["gates"]:
        until = f" (until {_moment(gate['until'], status, zone)})" if gate["until"] and not gate["open"] else ""
        mark = "✓ lets it work" if gate["open"] else "✕ holds it back"
        rows.append((_name(gate["name"]), mark, f"{gate['detail'] or gate['reason']}{until}"))
    return _table(("Rule", "Now", "Why"), rows) if rows else ""


def _safety(status: Status, zone: tzinfo) -> str:
    walls, trust = status["walls"], status["trust"]
    rows = [(_name(name), "✓ holds" if holds else "✕ missing", "") for name, holds in walls["holds"].items()]
    notes = [f"Nothing can be confined here: {walls['refused']}"] if walls["refused"] else []
    if trust["stop_reason"]:
        notes.append(f"The fleet is stopped: {trust['stop_reason']}")
    for refused in status["models_refused"]:
        until = _moment(refused["until"], status, zone)
        notes.append(f"Model {refused['model']} crashed too often and is refused until {until}.")
    if status["error"]:
        notes.append(f"Last error: {status['error']['text']}")
    contact = status["last_contact_at"]
    notes.append(f"Last talk with the server: {_moment(contact, status, zone) if contact else 'not since the start'}.")
    paragraphs = "".join(f"<p>{escape(note)}</p>" for note in notes)
    walls_text = "" if walls["refused"] else f"<p>{escape(_WALLS_TEXT)}</p>"
    return paragraphs + (walls_text + _table(("Wall", "Now"), [row[:2] for row in rows]) if rows else "")


def _messages(status: Status, zone: tzinfo) -> str:
    items = "".join(
        f"<li><small>{_moment(each['at'], status, zone)}</small> {escape(str(each['text']))}</li>"
        for each in reversed(status["messages"])
    )
    return f"<ul>{items}</ul>" if items else ""


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = "".join(_row(heads, list(row)) for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(heads: list[str], cells: list[str]) -> str:
    first = f'<th scope="row">{escape(cells[0])}</th>'
    rest = "".join(
        f'<td data-head="{escape(head)}">{escape(cell)}</td>' for head, cell in zip(heads[1:], cells[1:], strict=True)
    )
    return f"<tr>{first}{rest}</tr>"


def _name(name: str) -> str:
    return GATE_LABELS.get(name) or WALL_LABELS.get(name) or name.replace("_", " ").capitalize()


def _moment(unix: float, status: Status, zone: tzinfo) -> str:
    return escape(say_moment(unix, now_unix=status["at"], zone=zone))
