"""What TeslaMate's topics mean, as a pure function: texts by key in, the twelve signals out.

TeslaMate cannot tell `on_home_wifi` (the agent looks itself) nor `pack_temp_c`. Of its topics only those below are
subscribed to: `location`, `latitude`, `longitude`, `active_route*` and all that is not needed stay at the broker.

A key that was never heard and an empty one are the same here: TeslaMate publishes an empty text retained, which by the
protocol deletes the topic, so that whoever connects later hears nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleetclient.vehicle.signals import SignalValue
from fleetclient.vehicle.values import as_boolean, as_number, as_signal

KEYS = (
    "healthy", "state", "shift_state", "plugged_in", "charging_state", "power", "usable_battery_level", "battery_level",
    "charge_limit_soc", "geofence", "inside_temp", "is_climate_on", "is_preconditioning", "climate_keeper_mode",
    "is_user_present", "doors_open", "service_mode", "center_display_state", "sentry_mode", "install_perc",
)  # fmt: skip

# The car cannot be reached, or TeslaMate has not looked yet: nothing it said before may count.
UNREACHABLE_STATES = ("", "start", "offline", "unavailable")
POWERED_STATES = ("Starting", "Charging", "Complete", "Stopped", "Calibrating")
# 4: a person uses the screen; 8: dog mode; 9: films. 7 is Sentry, 2, 3 and 5 are standby and charging, 6 waits outside.
OCCUPIED_DISPLAYS = ("4", "8", "9")
KEEPER_OFF = ("", "off", "unknown")
# `power` is in kW (the topic table once said watts): minus is into the battery. Below half a kilowatt it is noise.
CHARGING_KW = -0.5


def derive_signals(said: Mapping[str, str], *, home_names: Iterable[str]) -> dict[str, SignalValue | None]:
    """Return what TeslaMate's retained texts amount to; a key that it never published is missing from `said`."""
    state = said.get("state", "")
    if state in UNREACHABLE_STATES:
        return dict.fromkeys(_SIGNALS_TOLD)
    numbers = {name: as_number(said.get(key, "")) for name, key in _NUMBERS.items()}
    return {
        "parked": _parked(said, state),
        "plugged_in": _plugged_in(said),
        "charging": _charging(said, state),
        "soc_pct": as_signal("soc_pct", _first(said, "usable_battery_level", "battery_level")),
        "at_home": _at_home(said, home_names),
        "user_present": _user_present(said, state),
        "sentry_on": as_boolean(said.get("sentry_mode", "")),
        "updating": state == "updating" or 0 < (as_number(said.get("install_perc", "")) or 0) < 100,
        **{name: as_signal(name, number) for name, number in numbers.items()},
    }


_NUMBERS = {"charge_limit_pct": "charge_limit_soc", "cabin_temp_c": "inside_temp"}
_SIGNALS_TOLD = (
    "parked", "plugged_in", "charging", "soc_pct", "charge_limit_pct", "at_home", "user_present", "cabin_temp_c",
    "sentry_on", "updating",
)  # fmt: skip


def _parked(said: Mapping[str, str], state: str) -> bool:
    if state == "driving":
        return False
    if state == "asleep":  # a car that moves is awake; its gear is not told after TeslaMate has restarted
        return True
    return said.get("shift_state", "").strip() in ("", "P")  # a parked car mostly has no gear at all


def _plugged_in(said: Mapping[str, str]) -> bool | None:
    cable, supply = as_boolean(said.get("plugged_in", "")), said.get("charging_state")
    if cable is False or supply in ("NoPower", "Disconnected"):  # NoPower: a cable in the car and nothing in the cable
        return False
    return True if cable and supply in POWERED_STATES else None


def _charging(said: Mapping[str, str], state: str) -> bool | None:
    power_kw = as_number(said.get("power", ""))
    is_fed = state not in ("driving", "asleep") and power_kw is not None and power_kw <= CHARGING_KW
    supply = said.get("charging_state")
    if state == "charging" or supply in ("Charging", "Starting", "Calibrating") or is_fed:
        return True
    return None if supply is None else False


def _user_present(said: Mapping[str, str], state: str) -> bool | None:
    """A person, a dog, an open door, a warm-up before a trip, a mechanic: all of them need the car more than we do."""
    signs = ("is_user_present", "is_climate_on", "is_preconditioning", "doors_open", "service_mode")
    if any(as_boolean(said.get(key, "")) for key in signs):
        return True
    if said.get("climate_keeper_mode", "").casefold() not in KEEPER_OFF:
        return True
    if said.get("center_display_state", "").strip() in OCCUPIED_DISPLAYS:
        return True
    is_present = as_boolean(said.get("is_user_present", ""))
    return False if is_present is False or state == "asleep" else None


def _at_home(said: Mapping[str, str], home_names: Iterable[str]) -> bool:
    return _plain(said.get("geofence", "")) in {_plain(name) for name in home_names}


def _plain(name: str) -> str:
    """Return a name's words, without emoji, punctuation and case."""
    return " ".join("".join(each if each.isalnum() else " " for each in name).casefold().split())


def _first(said: Mapping[str, str], *keys: str) -> float | None:
    numbers = (as_number(said.get(key, "")) for key in keys)
    return next((number for number in numbers if number is not None), None)
