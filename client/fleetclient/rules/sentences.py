"""One English sentence for each reason code, and the order in which reasons are told."""

from __future__ import annotations

from string import Formatter
from typing import Final

# For each code the sentences from the most telling to the one that needs no numbers. The order of the codes is the
# order of `Decision.reasons`: what the owner did or does first, then what is missing, then what is merely not yet.
SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "paused_user": ("Paused ({why}) until {time}.", "Paused until {time}.", "Paused ({why}).", "Paused by you."),
    "driving": ("Driving.",),
    "not_parked": ("The car is not in park.",),
    "user_present": ("Someone is in the car.",),
    "updating": ("Installing an update.",),
    "unconfined": (
        "Work cannot be confined on this computer: {why}.",
        "Work cannot be confined on this computer; `fleetclient doctor` says why.",
    ),
    "not_plugged_in": (
        "Plugged in, but the battery fell to {soc} %: no power from the socket? Waits for {start} %.",
        "Waiting: not plugged in.",
    ),
    "signal_stale": (
        "No fresh data from the car for {minutes} min ({signal}); stopped to be safe.",
        "The car has said nothing of {signal}; idle to be safe.",
        "No fresh data from the car; stopped to be safe.",
    ),
    "not_home_wifi": ("Waiting: not on a home network, but on {network}.", "Waiting: not on a home network."),
    "soc_low": (
        "Waiting: battery {soc} % - starts at {start} % (about {time}).",
        "Waiting: battery {soc} % - starts at {start} %.",
        "Waiting: the battery is too low.",
    ),
    "charging_first": (
        "Your car charges first, to {target} %. Starts about {time}.",
        "Your car charges first, to {target} %.",
        "Your car charges first.",
    ),
    "too_hot": ("Too hot: {place} {temp} °C, limit {limit} °C.", "Too hot."),
    "too_cold": ("Too cold: {place} {temp} °C, limit {limit} °C.", "Too cold."),
    "data_cap": ("{period} data cap of {limit} GB reached; resets {time}.", "Data cap reached."),
    "hours_cap": ("Worked {hours} h today, the limit is {limit} h; goes on {time}.", "Worked enough for today."),
    "outside_hours": ("Outside the allowed hours; next {time}.", "Outside the allowed hours."),
    "price_high": (
        "Power is {price} now, your limit is {limit}; cheaper from {time}.",
        "Power is {price} now, your limit is {limit}.",
        "Power is too expensive now.",
    ),
    "net_below_floor": (
        "Pay would not cover your electricity: {net} an hour, your limit is {limit}.",
        "Pay would not cover your electricity.",
    ),
    "not_wanted": ("Sentry is on, and your rules say no work then.",),
    "finishing": ("Finishing what is held; no new work is taken.",),
    "settling": ("All is well; starts in {seconds} s.", "All is well; starts within a minute."),
    "suspended_ops": ("On hold while the fleet's operators check results.",),
    "shutting_down": ("The client is shutting down.",),
}
REASON_ORDER: Final = {code: position for position, code in enumerate(SENTENCES)}
_FIELDS: Final = {
    sentence: frozenset(name for _, name, _, _ in Formatter().parse(sentence) if name)
    for sentences in SENTENCES.values()
    for sentence in sentences
}


def say(code: str, **values: str) -> str:
    """Return the most telling sentence of a reason code whose every number is given. An unknown code says itself."""
    for sentence in SENTENCES.get(code, ()):
        if _FIELDS[sentence] <= values.keys():
            return sentence.format(**values)
    return f"Not working: {code}."
