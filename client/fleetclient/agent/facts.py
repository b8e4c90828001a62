"""What the car's computer knows by itself, gathered for one look at the rules. From memory, but for two small files."""

from __future__ import annotations

from collections.abc import Callable

from fleetclient.control import ControlState
from fleetclient.rules.decision import LocalFacts
from fleetclient.usage import UsageMeter

SENSOR_SECONDS = 5.0


class Facts:
    """Gathers LocalFacts. `device_temp_c` reads a sensor, at most once in `SENSOR_SECONDS`.

    `on_allowed_network` is `(allowed or None, name)`; `unconfined_reason` and `net_per_hour` are asked each time.
    """

    def __init__(
        self,
        *,
        usage: UsageMeter,
        control: ControlState,
        device_temp_c: Callable[[], float | None] = lambda: None,
        allowed_network: Callable[[], tuple[bool | None, str]] = lambda: (None, ""),
        unconfined_reason: Callable[[], str] = lambda: "",
        net_per_hour: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._usage = usage
        self._control = control
        self._device_temp_c = device_temp_c
        self._allowed_network = allowed_network
        self._unconfined_reason = unconfined_reason
        self._net_per_hour = net_per_hour
        self._sensed_at: float | None = None
        self._temp_c: float | None = None

    def read(self, now: float) -> LocalFacts:
        """Return the facts at `now` (boot clock)."""
        if self._sensed_at is None or now - self._sensed_at >= SENSOR_SECONDS:
            self._temp_c, self._sensed_at = self._device_temp_c(), now
        control = self._control.read()
        allowed, name = self._allowed_network()
        return LocalFacts(
            device_temp_c=self._temp_c,
            bytes_today=self._usage.bytes_today,
            bytes_this_month=self._usage.bytes_this_month,
            worked_seconds_today=self._usage.worked_seconds_today,
            paused_until_unix=control.paused_until_unix,
            is_finishing=control.is_finishing,
            on_allowed_network=allowed,
            network_name=name,
            unconfined_reason=self._unconfined_reason(),
            net_per_hour=self._net_per_hour(),
        )
