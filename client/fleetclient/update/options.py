"""The owner's settings for updates of the client itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from fleetclient.errors import ClientError

CHANNELS: Final = ("stable", "beta", "pinned")
CHECK_HOURS_MIN, CHECK_HOURS_MAX = 1.0, 24.0 * 30


class UpdateOptionsInvalid(ClientError):
    """A setting of `[update]` cannot be used; the text names the key."""

    code: ClassVar[str] = "config_invalid"


@dataclass(frozen=True, kw_only=True)
class UpdateOptions:
    """`[update]`: whether and which signed releases of the client this car installs by itself.

    `enabled`: false leaves the client as it is for ever. `channel`: `stable`; `beta` for releases before they are
    stable; `pinned` to stay on the version that runs now and still hear of others. `check_hours`: hours between two
    looks for a release, from 1 to 720. `needs_plug`: a release is installed only while the car is plugged in; false
    for a computer that knows of no plug.
    """

    enabled: bool = True
    channel: str = "stable"
    check_hours: float = 24.0
    needs_plug: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.channel not in CHANNELS:
            raise UpdateOptionsInvalid(f"channel must be one of {', '.join(CHANNELS)}, not {self.channel!r}")
        if not CHECK_HOURS_MIN <= self.check_hours <= CHECK_HOURS_MAX:
            raise UpdateOptionsInvalid(
                f"check_hours must be from {CHECK_HOURS_MIN:.0f} to {CHECK_HOURS_MAX:.0f}, not {self.check_hours}"
            )
