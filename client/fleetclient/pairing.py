"""Pairing (RFC 8628): show a short code, wait until the owner has approved it in the portal, store what comes back.

Beside the code the car shows a number, which the owner has to pick in the portal among three: whoever is lured into
approving a stranger's code does not see the right one.
"""

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
SHOWN_CHARS_MAX = 300


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
    # The device code is a secret between this car and the server; only the user code and the number are shown.
    shown = ("user_code", "match_number", "verification_uri", "verification_uri_complete", "expires_in")
    _say(out, {"event": "pairing", **{key: codes.get(key) for key in shown}})
    lines = [f"To pair this car, open {_plain(codes.get('verification_uri'))} and enter {_plain(codes['user_code'])}"]
    address = _plain(codes.get("verification_uri_complete"))
    if out.isatty() and address:
        lines += ["or point a phone's camera here:", draw_qr(address)]
    if codes.get("match_number") is not None:
        lines.append(f"When asked for the number on the car's screen, pick {_plain(codes['match_number'])}")
    print("\n".join(lines), file=out, flush=True)


def draw_qr(text: str) -> str:
    """Return a QR code for a terminal, two rows of modules to a line of text."""
    import io

    import segno  # small, and of use for this moment only

    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out=drawn, border=2, compact=True)
    return drawn.getvalue().rstrip("\n")


def _plain(value: object) -> str:
    """Return a server's text without what could steer a terminal, and not endlessly long."""
    return "".join(each for each in str(value or "") if each.isprintable())[:SHOWN_CHARS_MAX]


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
