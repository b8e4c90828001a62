"""Pairing (RFC 8628): show a short code, wait until the owner has approved it in the portal, store what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar, TextIO

from fleetclient.backoff import Backoff
from fleetclient.errors import ClientError
from fleetclient.identity import Identity
from fleetclient.network import AGENT_NAME, Network, ServerRefused, Unreachable

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
SLOW_DOWN_SECONDS = 5.0
UNREACHABLE_CAP_SECONDS = 30.0


class PairingRefused(ClientError):
    """The owner said no, or nobody said yes in time."""

    code: ClassVar[str] = "pairing_refused"


def pair(*, network: Network, identity: Identity, name: str, out: TextIO, sleep: Callable[[float], None]) -> str:
    """Return the vehicle id after the owner's approval; asks for one code and polls until it is settled."""
    codes = network.pair_device({"public_key": identity.public_key.hex(), "name": name, "agent": AGENT_NAME})
    _show(codes, out)
    granted = _poll(network, str(codes["device_code"]), float(codes["interval"]), sleep)
    identity.remember_pairing(
        vehicle_id=str(granted["vehicle_id"]), director_key=bytes.fromhex(granted["director_key"])
    )
    network.adopt_identity()
    _say(out, {"event": "paired", "vehicle_id": identity.vehicle_id})
    return str(identity.vehicle_id)


def _show(codes: dict[str, object], out: TextIO) -> None:
    # The device code is a secret between this car and the server; only the user code is shown.
    shown = ("user_code", "verification_uri", "verification_uri_complete", "expires_in")
    _say(out, {"event": "pairing", **{key: codes.get(key) for key in shown}})
    print(f"To pair this car, open {codes['verification_uri']} and enter {codes['user_code']}", file=out, flush=True)


def _say(out: TextIO, line: dict[str, object]) -> None:
    print(json.dumps(line), file=out, flush=True)


def _poll(network: Network, device_code: str, interval: float, sleep: Callable[[float], None]) -> dict[str, str]:
    backoff = Backoff(base_seconds=max(interval, 0.1), cap_seconds=UNREACHABLE_CAP_SECONDS)
    while True:
        sleep(interval)
        try:
            return network.pair_token({"grant_type": GRANT_TYPE, "device_code": device_code})
        except ServerRefused as refused:
            interval = _next_interval(refused, interval, sleep)
        except Unreachable:
            sleep(backoff.failed())


def _next_interval(refused: ServerRefused, interval: float, sleep: Callable[[float], None]) -> float:
    if refused.problem == "authorization_pending":
        return interval
    if refused.problem == "slow_down":
        return interval + SLOW_DOWN_SECONDS
    if refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR or refused.status == HTTPStatus.TOO_MANY_REQUESTS:
        sleep(refused.retry_after_seconds or 0.0)
        return interval
    raise PairingRefused(f"pairing ended: {refused}") from None
