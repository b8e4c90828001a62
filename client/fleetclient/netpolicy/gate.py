"""The first questions before any byte leaves: is this network allowed, is this one of the fleet's own servers."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from fleetclient.errors import ClientError
from fleetclient.netpolicy.policy import NetworkPolicy

_PORTS = {"http": 80, "https": 443}


class NetworkNotAllowed(ClientError):
    """This car is not on a network that its owner allows: nothing is sent."""

    code: ClassVar[str] = "network_not_allowed"
    retryable: ClassVar[bool] = True


class OriginRefused(ClientError):
    """The address is not that of the configured server, or the fleet's signed configuration does not name it."""

    code: ClassVar[str] = "origin_refused"
    retryable: ClassVar[bool] = True


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address in one spelling; empty when it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        host = (parts.hostname or "").rstrip(".")
    except (ValueError, KeyError):
        return ""
    if not host or parts.username is not None:
        return ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class SendGate:
    """Stands before every connection. There is no other way out and no exception, not even for a sync.

    Until the fleet's signed configuration is known, the server that the owner configured is the only one; afterwards
    it has to be named there too.
    """

    def __init__(self, origin: str, policy: NetworkPolicy) -> None:
        self._origin = origin_of(origin)
        self._policy = policy

    def check(self, url: str) -> None:
        """Return when a request to this address may leave now. Raises NetworkNotAllowed, OriginRefused."""
        if not self._policy.may_send():
            raise NetworkNotAllowed("not on an allowed network, so nothing is sent (fleetclient doctor says more)")
        origin = origin_of(url)
        if not origin or origin != self._origin:
            raise OriginRefused(f"{origin or 'the address'} is not the configured server {self._origin}")
        signed = self._policy.signed_origins()
        if signed and origin not in {origin_of(each) for each in signed}:
            raise OriginRefused(f"the fleet's signed configuration does not name {origin}")
