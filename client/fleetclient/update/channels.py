"""Which release this car should run, out of what the signed channels offer: pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fleetclient.update.folder import UpdateState
from fleetclient.update.options import UpdateOptions
from fleetclient.update.versions import VersionInvalid, is_newer


class Offer(Protocol):
    """One channel as the fleet's offline keys signed it."""

    @property
    def version(self) -> str:
        """The version it is at."""
        ...

    @property
    def target(self) -> str:
        """The wheel's path in the repository."""
        ...

    @property
    def ring_percent(self) -> float:
        """The share of cars that take it now."""
        ...

    @property
    def is_security(self) -> bool:
        """Whether it mends something that should not wait for a plug."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A release to install, or in `reason` why there is none; `version` is then what was offered, if anything."""

    version: str = ""
    target: str = ""
    is_security: bool = False
    reason: str = ""

    @property
    def is_wanted(self) -> bool:
        """Whether there is something to install."""
        return not self.reason


def choose(
    offers: Mapping[str, Offer], *, options: UpdateOptions, state: UpdateState, running: str, vehicle_id: str
) -> Choice:
    """Return what this car should install. `running` is the version of this process."""
    if not options.enabled:
        return Choice(reason="updates are turned off by the owner")
    channel = "stable" if options.channel == "pinned" else options.channel
    offer = offers.get(channel)
    if offer is None:
        return Choice(reason=f"the fleet offers no release in the channel {channel}")
    reason = _why_not(offer, options=options, state=state, running=running, vehicle_id=vehicle_id)
    return Choice(version=offer.version, target=offer.target, is_security=offer.is_security, reason=reason)


def ring_of(vehicle_id: str, target: str) -> float:
    """Return where in 0 to 100 a car stands for a release: even over cars, and another place for every release."""
    digest = hashlib.sha256(f"{target}\n{vehicle_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100.0


def _why_not(offer: Offer, *, options: UpdateOptions, state: UpdateState, running: str, vehicle_id: str) -> str:
    try:
        return _why_never(offer.version, state=state, running=running) or _why_not_yet(
            offer, options=options, running=running, vehicle_id=vehicle_id
        )
    except VersionInvalid as error:
        return str(error)


def _why_never(version: str, *, state: UpdateState, running: str) -> str:
    if not is_newer(version, running):
        return f"version {running} is up to date"
    if version in state.bad:
        return f"version {version} was taken back here: {state.bad[version]}"
    # Monotonic for ever: neither a thief of keys nor a slip of the operator brings an old weakness back.
    if not is_newer(version, state.highest):
        return f"version {version} is not above {state.highest}, which already ran here"
    return ""


def _why_not_yet(offer: Offer, *, options: UpdateOptions, running: str, vehicle_id: str) -> str:
    if options.channel == "pinned":
        return f"version {offer.version} is out; the owner has pinned {running}"
    if ring_of(vehicle_id, offer.target) >= offer.ring_percent:
        return f"version {offer.version} is on its way to {offer.ring_percent:g} % of cars; this one comes later"
    return ""
