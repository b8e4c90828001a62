"""A status document such as a running agent writes, for what only shows it."""

from __future__ import annotations

import copy
from typing import Any

NOON = 1_767_265_200.0  # 2026-01-01T11:00:00Z, noon in Berlin

_WAITING: dict[str, Any] = {
    "version": 1,
    "at": NOON,
    "pid": 4242,
    "stopped": False,
    "agent": {"version": "0.1.0", "runtime": "onnxruntime/1.32.0", "comparison_class": "cpu-fp32-ort1.32-avx2"},
    "car": "Blue ID.3 <b>&",
    "vehicle_id": "veh_1",
    "state": "waiting",
    "sentence": "Waiting: battery 58 % - starts at 70 % (about 14:20).",
    "eligible": False,
    "reasons": ["soc_low", "outside_hours"],
    "until": NOON + 11 * 3600,
    "next_check_seconds": 5.0,
    "signals": {
        "parked": {"value": True, "age_seconds": 12.0, "source": "teslamate"},
        "plugged_in": {"value": True, "age_seconds": 12.0, "source": "teslamate"},
        "charging": {"value": True, "age_seconds": 40.0, "source": "teslamate"},
        "soc_pct": {"value": 58.0, "age_seconds": 40.0, "source": "teslamate"},
        "charge_limit_pct": {"value": 80.0, "age_seconds": 4000.0, "source": "teslamate"},
        "at_home": {"value": True, "age_seconds": 12.0, "source": "teslamate"},
        "on_home_wifi": {"value": True, "age_seconds": 1.0, "source": "this computer"},
        "user_present": {"value": False, "age_seconds": 12.0, "source": "teslamate"},
        "cabin_temp_c": {"value": 21.5, "age_seconds": 12.0, "source": "teslamate"},
        "pack_temp_c": None,
        "sentry_on": {"value": None, "age_seconds": None, "source": "teslamate"},
        "updating": {"value": False, "age_seconds": 12.0, "source": "teslamate"},
    },
    "gates": [
        {"name": "parked", "open": True, "reason": "", "detail": "The car is parked.", "until": None},
        {"name": "plugged_in", "open": True, "reason": "", "detail": "The car is plugged in.", "until": None},
        {
            "name": "state_of_charge",
            "open": False,
            "reason": "soc_low",
            "detail": "The battery is at 58 %; work starts at 70 %.",
            "until": NOON + 8400,
        },
        {
            "name": "hours",
            "open": False,
            "reason": "outside_hours",
            "detail": "Outside the hours of work; next window 22:00-06:00.",
            "until": NOON + 11 * 3600,
        },
        {"name": "temperature", "open": True, "reason": "", "detail": "Cabin 21.5 °C, limit 45 °C.", "until": None},
    ],
    "online": True,
    "last_contact_at": NOON - 300,
    "next_sync_seconds": 600.0,
    "clock_skew_seconds": 0.4,
    "units": {"held": 0, "finished": 1, "kept": 0, "uploading": 0, "returning": 2},
    "completed": 17,
    "rows_done": None,
    "rows": None,
    "runner": None,
    "walls": {"refused": "", "holds": {"network": True, "files": True, "system_calls": True, "memory": True}},
    "trust": {"mode": "tuf", "stop_reason": ""},
    "models_refused": [{"model": "0123456789ab", "until": NOON + 80000}],
    "pause": {"until": None, "forever": False, "finishing": False},
    "usage": {
        "bytes_today": 181_400_000,
        "bytes_this_month": 3_220_000_000,
        "worked_seconds_today": 11_520,
        "energy_wh_today": 48.0,
    },
    "power_w": 0.0,
    "net_per_hour": 0.04,
    "net_today": None,
    "device_temp_c": 51.0,
    "network": {"allowed": True},
    "messages": [{"at": NOON - 4000, "level": "info", "code": "hello", "text": "Maintenance on Sunday."}],
    "error": None,
}


def make_status(**changes: Any) -> dict[str, Any]:
    """Return the document of a car that waits, with some members replaced."""
    return copy.deepcopy(_WAITING) | changes
