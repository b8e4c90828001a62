"""One HTTP exchange of the status page: `/`, `/status.json`, `/healthz`, `/metrics`, and POSTs of its buttons."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from fleetclient.clock import wall_seconds
from fleetclient.page import PageContext
from fleetclient.page.guard import is_token, refuse_request
from fleetclient.page.metrics import render_metrics
from fleetclient.page.view import render_page

TALK_SECONDS = 5.0
BODY_BYTES_MAX = 1024
_SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not "no-referrer": browsers would then send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_STATIC = {
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def answer(connection: socket.socket, address: Any, context: PageContext) -> None:
    """Read one request from a connection and answer it."""
    connection.settimeout(TALK_SECONDS)
    try:
        _Exchange(connection, address, context)
    except (ConnectionError, TimeoutError):
        return  # whoever hangs up, or says nothing, wants no answer


class _Exchange(BaseHTTPRequestHandler):
    server_version = "fleetclient"
    sys_version = ""
    timeout = TALK_SECONDS

    def __init__(self, connection: socket.socket, address: Any, context: PageContext) -> None:
        self._context = context
        super().__init__(connection, address, context)  # type: ignore[arg-type]  # only the handler looks at it

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: what people look at on their own computer is their business."""

    def do_GET(self) -> None:
        """Show something."""
        path = self.path.partition("?")[0]
        if not self._is_refused("GET"):
            self._show(path)

    def do_POST(self) -> None:
        """Do what a button asks."""
        if self._is_refused("POST"):
            return
        form = self._read_form()
        if form is None or not is_token(form.get("token", ""), self._context.token):
            self._say(HTTPStatus.FORBIDDEN, "This page is older than the agent. Load it again, then press the button.")
            return
        action = self._actions().get(self.path)
        if action is None:
            self._say(HTTPStatus.NOT_FOUND, "There is no such button.")
            return
        try:
            action()
        except OSError as error:
            text = f"It holds until the agent ends, but could not be stored: {error.strerror}."
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, text)
            return
        self._send(HTTPStatus.SEE_OTHER, b"", "text/plain", {"Location": "/"})

    def _actions(self) -> dict[str, Callable[[], None]]:
        control, zone = self._context.control, self._context.zone
        now = wall_seconds()
        tomorrow = datetime.fromtimestamp(now, zone) + timedelta(days=1)
        morning = tomorrow.replace(hour=7, minute=0, second=0, microsecond=0).timestamp()
        return {
            "/pause-hour": lambda: control.pause(now + 3600.0),
            "/pause-morning": lambda: control.pause(morning),
            "/pause": control.pause,
            "/resume": control.resume,
            "/finish": control.finish,
            "/stop-now": control.stop_now,
        }

    def _show(self, path: str) -> None:
        context = self._context
        if path == "/":
            page = render_page(context.status(), token=context.token, zone=context.zone, currency=context.currency)
            self._send(HTTPStatus.OK, page.encode(), "text/html")
        elif path == "/status.json":
            self._send(HTTPStatus.OK, json.dumps(context.status()).encode(), "application/json")
        elif path == "/healthz":
            self._show_health()
        elif path == "/metrics" and context.has_metrics:
            self._send(HTTPStatus.OK, render_metrics(context.status()).encode(), "text/plain; version=0.0.4")
        elif path in _STATIC:
            name, kind = _STATIC[path]
            content = files("fleetclient.page").joinpath("static", name).read_bytes()
            self._send(HTTPStatus.OK, content, kind)
        else:
            self._say(HTTPStatus.NOT_FOUND, "There is nothing here. The page is at /.")

    def _show_health(self) -> None:
        status = self._context.status()
        is_well = not status["stopped"] and status["state"] != "attention"
        code = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
        document = {"status": "ok" if is_well else "attention", "state": status["state"]}
        self._send(code, json.dumps(document).encode(), "application/json")

    def _is_refused(self, method: str) -> bool:
        # A header that stands there twice is no header of a browser's.
        doubled = any(len(self.headers.get_all(name, [])) > 1 for name in ("Host", "Origin", "Sec-Fetch-Site"))
        headers = {name: self.headers[name] for name in _GUARDED if name in self.headers}
        reason = "a header stands there twice" if doubled else refuse_request(method, headers, port=self._context.port)
        if reason:
            self._say(HTTPStatus.FORBIDDEN, f"Refused: {reason}.")
        return bool(reason)

    def _read_form(self) -> dict[str, str] | None:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            return None
        if not 0 <= length <= BODY_BYTES_MAX:
            return None
        fields = parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        return {name: values[0] for name, values in fields.items()}

    def _say(self, code: HTTPStatus, text: str) -> None:
        self._send(code, f"{text}\n".encode(), "text/plain")

    def _send(self, code: HTTPStatus, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        suffix = "" if ";" in kind else "; charset=utf-8"
        every = {"Content-Type": kind + suffix, "Content-Length": str(len(content)), **_SECURITY, **(headers or {})}
        for name, value in every.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


_GUARDED = ("Host", "Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode")
