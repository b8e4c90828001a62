"""The one error of the configuration, apart from the readers that raise it."""

from __future__ import annotations

from typing import ClassVar

from fleetclient.errors import ClientError


class ConfigInvalid(ClientError):
    """The configuration cannot be used; the text names the key, and the place that set it."""

    code: ClassVar[str] = "config_invalid"
