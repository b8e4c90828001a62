"""The status page on this computer: read-only but for the pause buttons, for browsers on this computer only.

Listening costs one thread that sleeps in `accept`; the HTTP machinery is loaded when somebody first looks.
"""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Any

from fleetclient.control import ControlState
from fleetclient.logs import Log

ADDRESS = "127.0.0.1"
WAITING_MAX = 16


def _make_token() -> str:
    return base64.urlsafe_b64encode(os.urandom(24)).decode()


@dataclass(frozen=True, kw_only=True)
class PageContext:
    """What the page shows and may do. `token` is made anew at each start; only this page knows it."""

    status: Callable[[], dict[str, Any]]
    control: ControlState
    zone: tzinfo = UTC
    has_metrics: bool = False
    currency: str = ""
    port: int = 0
    token: str = field(default_factory=_make_token)


class StatusPage:
    """The listener. A port that is taken turns the page off with a warning; the work goes on."""

    def __init__(
        self,
        *,
        port: int,
        status: Callable[[], dict[str, Any]],
        control: ControlState,
        log: Log,
        zone: tzinfo = UTC,
        has_metrics: bool = False,
        currency: str = "",
    ) -> None:
        self._wanted_port = port
        self._unbound = PageContext(
            status=status, control=control, zone=zone, has_metrics=has_metrics, currency=currency
        )
        self._log = log
        self._listener: socket.socket | None = None
        self.port = 0

    def start(self) -> bool:
        """Begin to listen; return False when the port cannot be had. Port 0 takes any free one."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, self._wanted_port))
            listener.listen(WAITING_MAX)
        except OSError as error:
            listener.close()
            self._log.warning("status_page_off", port=self._wanted_port, error=error.strerror or str(error))
            return False
        self._listener, self.port = listener, listener.getsockname()[1]
        context = replace(self._unbound, port=self.port)
        threading.Thread(target=self._serve, args=(listener, context), name="fleetclient-page", daemon=True).start()
        return True

    def stop(self) -> None:
        """Stop listening; a request under way still gets its answer."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _serve(self, listener: socket.socket, context: PageContext) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return  # closed by `stop`
            # Only now: http.server and what it imports would weigh on every agent that nobody looks at.
            from fleetclient.page.server import answer

            # One at a time: a page for one person needs no more, and a browser that floods it only delays itself.
            with connection:
                try:
                    answer(connection, address, context)
                except Exception as error:  # noqa: BLE001 - the edge of a thread: a page must not end with one request
                    self._log.warning("status_page_failed", error=f"{type(error).__name__}: {error}")
