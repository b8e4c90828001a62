"""The gates of what the car says: park, cable, people, updates, networks, chargers, sentry.

Unknown or stale keeps a gate closed; a signal that grows older without news never opens one.
"""

from __future__ import annotations

import math

from fleetclient.rules.decision import Gate
from fleetclient.rules.scene import Finding, Heard, Scene
from fleetclient.rules.sentences import say


def judge_parked(scene: Scene) -> Finding:
    """Open while the car is known to be in park; it drives where nothing speaks against that."""
    parked = scene.hear("parked")
    plugged, user = scene.hear("plugged_in"), scene.hear("user_present")
    is_driving = plugged.known is not True and user.known is not False
    return judge_bool(parked, wanted=True, reason="driving" if is_driving else "not_parked", good="Parked.")


def judge_user(scene: Scene) -> Finding:
    """Open while nobody is known to be in the car."""
    return judge_bool(scene.hear("user_present"), wanted=False, reason="user_present", good="Nobody is in the car.")


def judge_updating(scene: Scene) -> Finding:
    """Open while the car is known to install nothing."""
    return judge_bool(scene.hear("updating"), wanted=False, reason="updating", good="No update is being installed.")


def judge_plugged_in(scene: Scene) -> Finding:
    """Open while the car is known to be plugged in to a cable with power."""
    return judge_bool(scene.hear("plugged_in"), wanted=True, reason="not_plugged_in", good="Plugged in.")


def judge_sentry(scene: Scene) -> Finding:
    """Open unless the owner wants no work beside Sentry and it is not known to be off."""
    if not scene.rules.stop_on_sentry:
        return Finding(gate=Gate(name="sentry_on", is_open=True, detail="Sentry makes no difference.", limit="any"))
    return judge_bool(scene.hear("sentry_on"), wanted=False, reason="not_wanted", good="Sentry is off.")


def judge_network(scene: Scene) -> Finding:
    """Open on an allowed network: what this computer sees itself decides, and where it sees nothing, what the car says.

    That the car is on the home Wi-Fi does not help while this computer's bytes would go another way.
    """
    if not scene.rules.only_home_network:
        return Finding(gate=Gate(name="home_network", is_open=True, detail="Any network is allowed.", limit="any"))
    seen, name = scene.facts.on_allowed_network, scene.facts.network_name
    if seen is None:
        heard = scene.hear("on_home_wifi")
        return judge_bool(heard, wanted=True, reason="not_home_wifi", good="On the home Wi-Fi.", name="home_network")
    where = {"network": name} if name else {}
    detail = "On an allowed network." if seen else say("not_home_wifi", **where)
    reason = "" if seen else "not_home_wifi"
    gate = Gate(name="home_network", is_open=seen, reason=reason, detail=detail, value=name or _say(seen), limit="home")
    return Finding(gate=gate)


def judge_charger(scene: Scene) -> Finding:
    """Closed while the car charges, or may, at a place that may not be home: perhaps a fast charger paid by the minute.

    Home is where the car says so, or where an allowed network is and the car has not said otherwise.
    """
    charging, at_home, wifi = (scene.hear(name) for name in ("charging", "at_home", "on_home_wifi"))
    has_home_network = scene.facts.on_allowed_network is True or wifi.known is True
    is_home = at_home.known is True or (at_home.last is not False and has_home_network)
    flips_in = min(charging.flips_in, at_home.flips_in, wifi.flips_in)
    if scene.rules.work_while_charging_elsewhere or is_home or charging.known is False:
        return Finding(gate=Gate(name="charger", is_open=True, detail="Not at a charger elsewhere."), flips_in=flips_in)
    if charging.known is True and at_home.known is False:
        gate = Gate(name="charger", is_open=False, reason="charging_first", detail=say("charging_first"), value="away")
        return Finding(gate=gate, flips_in=flips_in)
    return find_stale(at_home if charging.known else charging, name="charger", flips_in=flips_in)


def judge_bool(heard: Heard, *, wanted: bool, reason: str, good: str, name: str = "") -> Finding:
    """Return an open gate where the signal is freshly known to be as wanted; closed with `reason` where it is not."""
    if heard.known is None:
        return find_stale(heard, name=name)
    is_open = heard.known is wanted
    gate = Gate(
        name=name or heard.name,
        is_open=is_open,
        reason="" if is_open else reason,
        detail=good if is_open else say(reason),
        value=_say(heard.known is True),
        limit=_say(wanted),
        age_seconds=heard.age_seconds,
    )
    return Finding(gate=gate, flips_in=heard.flips_in)


def find_stale(heard: Heard, *, name: str = "", flips_in: float = math.inf) -> Finding:
    """Return a gate that is closed because its signal is unknown or too old."""
    values = {"signal": heard.name}
    if heard.age_seconds is not None:
        values["minutes"] = f"{heard.age_seconds / 60:.0f}"
    gate = Gate(
        name=name or heard.name,
        is_open=False,
        reason="signal_stale",
        detail=say("signal_stale", **values),
        value="unknown" if heard.last is None else "stale",
        age_seconds=heard.age_seconds,
    )
    return Finding(gate=gate, flips_in=min(heard.flips_in, flips_in))


def _say(value: bool) -> str:  # noqa: FBT001 - the one thing it says
    return "yes" if value else "no"
