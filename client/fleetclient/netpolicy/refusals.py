"""What the server, or the way to it, answers instead of an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

from fleetclient.clock import wall_seconds
from fleetclient.errors import ClientError

DETAIL_CHARS_MAX = 500


class Unreachable(ClientError):
    """The server could not be reached, or its answer makes no sense."""

    code: ClassVar[str] = "unreachable"
    retryable: ClassVar[bool] = True


class ServerRefused(ClientError):
    """The server answered with an error; `problem` is its code, `status` its HTTP status."""

    code: ClassVar[str] = "server_refused"
    retryable: ClassVar[bool] = True

    def __init__(
        self, *, status: int, problem: str, detail: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{status} {problem}: {detail}")
        self.status = status
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds


class VehicleRevoked(ServerRefused):
    """The owner or an operator removed this car: stop, and do not try again."""

    code: ClassVar[str] = "vehicle_revoked"
    retryable: ClassVar[bool] = False


def read_refusal(*, status: int, headers: Mapping[str, str], content: bytes) -> ServerRefused:
    """Return the error that an answer of another status than 2xx stands for."""
    try:
        document = read_json_object(content)
    except Unreachable:
        document = {}
    problem = str(document.get("error") or document.get("code") or f"http_{status}")
    kind = VehicleRevoked if problem == "vehicle_revoked" else ServerRefused
    return kind(
        status=status,
        problem=problem,
        detail=str(document.get("detail", ""))[:DETAIL_CHARS_MAX],
        retry_after_seconds=read_retry_after(headers.get("Retry-After")),
    )


def read_retry_after(value: str | None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, as a number or a date; None when it cannot be read."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if seconds < float("inf") else None
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - wall_seconds())
    except (TypeError, ValueError):
        return None


def read_json_object(content: bytes) -> dict[str, Any]:
    """Return an answer's JSON object. Raises Unreachable."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise Unreachable("the answer is not JSON") from None
    if not isinstance(document, dict):
        raise Unreachable("the answer is not a JSON object")
    return document
