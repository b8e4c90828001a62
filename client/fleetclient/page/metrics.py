"""The status document in Prometheus' text form. Numbers of this car only, without a label that names anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Sample = tuple[str, str, str, Any]


def render_metrics(status: Mapping[str, Any]) -> str:
    """Return the exposition of a status document; what is not known is left out."""
    lines: list[str] = []
    described: set[str] = set()
    for name, kind, labels, value in _samples(status):
        if value is None:
            continue
        if name not in described:
            described.add(name)
            lines.append(f"# TYPE {name} {kind}")
        number = int(value) if isinstance(value, bool) else value
        lines.append(f"{name}{labels} {number}")
    return "\n".join(lines) + "\n"


def _samples(status: Mapping[str, Any]) -> Iterator[Sample]:
    usage = status["usage"]
    yield "fleetclient_eligible", "gauge", "", status["eligible"]
    yield "fleetclient_online", "gauge", "", status["online"]
    yield "fleetclient_state", "gauge", f'{{state="{status["state"]}"}}', 1
    yield "fleetclient_last_contact_timestamp_seconds", "gauge", "", status["last_contact_at"]
    yield "fleetclient_clock_skew_seconds", "gauge", "", status["clock_skew_seconds"]
    yield "fleetclient_units_completed_total", "counter", "", status["completed"]
    for name, count in status["units"].items():
        yield "fleetclient_units", "gauge", f'{{state="{name}"}}', count
    yield "fleetclient_power_watts", "gauge", "", status["power_w"]
    yield "fleetclient_device_temperature_celsius", "gauge", "", status["device_temp_c"]
    yield "fleetclient_moved_today_bytes", "gauge", "", usage["bytes_today"]
    yield "fleetclient_worked_today_seconds", "gauge", "", usage["worked_seconds_today"]
    energy = usage["energy_wh_today"]
    yield "fleetclient_energy_today_joules", "gauge", "", None if energy is None else energy * 3600
    for gate in status["gates"]:
        yield "fleetclient_gate_open", "gauge", f'{{gate="{gate["name"]}"}}', gate["open"]
    for name, signal in status["signals"].items():
        value = None if signal is None else signal["value"]
        yield "fleetclient_signal", "gauge", f'{{signal="{name}"}}', value
        yield "fleetclient_signal_age_seconds", "gauge", f'{{signal="{name}"}}', signal and signal["age_seconds"]
