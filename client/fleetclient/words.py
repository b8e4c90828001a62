"""Words for people: states, signals, amounts and times, the same on the page, in the terminal and in Home Assistant."""

from __future__ import annotations

import math
from datetime import datetime, tzinfo

# State: a sign and a word, so that nothing is said by colour alone.
STATES: dict[str, tuple[str, str]] = {
    "working": ("▶", "Working"),
    "ready": ("●", "Ready"),
    "waiting": ("…", "Waiting"),
    "paused": ("❚❚", "Paused"),
    "offline": ("○", "Offline"),
    "attention": ("!", "Needs attention"),
    "suspended": ("■", "On hold"),
    "stopped": ("□", "Stopped"),
}
SIGNAL_LABELS: dict[str, str] = {
    "parked": "Parked",
    "plugged_in": "Plugged in",
    "charging": "Charging",
    "soc_pct": "Battery",
    "charge_limit_pct": "Charge limit",
    "at_home": "At home",
    "on_home_wifi": "On the home network",
    "user_present": "Somebody in the car",
    "cabin_temp_c": "Cabin",
    "pack_temp_c": "Battery pack",
    "sentry_on": "Watching its surroundings",
    "updating": "Installing an update",
}
# Rules and walls by the names that the decision and the runner give them; others are shown under their own.
GATE_LABELS: dict[str, str] = {
    "pause": "Your pause",
    "away": "Vacation, valet, service",
    "user_present": "Somebody in the car",
    "updating": "Installing an update",
    "confined": "Walls around the work",
    "soc_pct": "Battery",
    "ready_by": "Ready to drive",
    "charger": "Charger",
    "cabin_temp": "Cabin",
    "pack_temp": "Battery pack",
    "device_temp": "This computer",
    "data_day": "Data today",
    "data_month": "Data this month",
    "hours_day": "Hours today",
    "windows": "Allowed hours",
    "price": "Price of power",
    "net": "Net pay",
    "sentry_on": "Watching its surroundings",
    "finishing": "New work",
    "settled": "Settled",
}
WALL_LABELS: dict[str, str] = {
    "idle_priority": "Processor only when idle",
    "idle_disk": "Disk only when idle",
    "first_to_go": "First to end when memory is short",
    "namespaces": "A network and users of its own",
    "dies_with_agent": "Ends with the client",
    "untraceable": "Cannot be traced",
    "no_new_privileges": "Can gain no privileges",
    "limits": "Limits on memory, time and files",
    "landlock": "No files, no network (Landlock)",
    "seccomp": "Few system calls (seccomp)",
    "cgroup": "A control group",
}
UNKNOWN = "unknown"


def say_value(name: str, value: bool | float | None) -> str:  # noqa: FBT001 - a signal's value
    """Return a signal's value with its unit."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    unit = " %" if name.endswith("_pct") else " °C" if name.endswith("_c") else ""
    return f"{value:.0f}{unit}" if unit == " %" else f"{value:.1f}{unit}"


def say_seconds(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    total = round(seconds)
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if total >= size:
            rest = total % size // smaller
            return f"{total // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{total} s"


def say_moment(unix: float, *, now_unix: float, zone: tzinfo) -> str:
    """Return a moment: the time alone within today, with its day otherwise."""
    if math.isinf(unix):
        return "you resume"
    moment, now = datetime.fromtimestamp(unix, zone), datetime.fromtimestamp(now_unix, zone)
    if moment.date() == now.date():
        return moment.strftime("%H:%M")
    return moment.strftime("%a %H:%M" if abs(unix - now_unix) < 6 * 86400 else "%Y-%m-%d %H:%M")


def say_bytes(count: float) -> str:
    """Return an amount of data in powers of ten, as data plans count."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def say_money(amount: float | None, currency: str) -> str:
    """Return an amount with its currency, or that it is not known."""
    if amount is None:
        return UNKNOWN
    return f"{amount:.2f} {currency}".rstrip()
