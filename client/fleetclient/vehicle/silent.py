"""The source of a car that nobody has connected yet: it says nothing, so the car never works."""

from __future__ import annotations

from collections.abc import Callable

from fleetclient.vehicle.signals import Signals


class SilentSource:
    """Knows no signal. Standing in for a real car by a pretended one would mean work while somebody drives."""

    problem = "no car is connected: name where your car's state comes from in [vehicle] source"

    def start(self, wake: Callable[[], None]) -> None:
        """Do nothing."""

    def read(self, now_elapsed: float) -> Signals:
        """Return that nothing is known."""
        return Signals()

    def stop(self) -> None:
        """Do nothing."""
