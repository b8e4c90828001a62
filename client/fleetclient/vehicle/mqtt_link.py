"""One connection to an MQTT broker, on a thread of its own: it comes back by itself, and only ever listens.

The session is clean at each connection: a kept session would deliver what was said while we were away as if it were
said now. Nothing here writes a password, a topic's content or a position anywhere.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fleetclient.vehicle.checks import SourceInvalid
from fleetclient.vehicle.mqtt_options import BrokerOptions

if TYPE_CHECKING:
    from paho.mqtt.client import Client

RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX = 1, 60
CONNECT_SECONDS_MAX = 5.0
PAYLOAD_BYTES_MAX = 64 * 1024
PASSWORD_BYTES_MAX = 4096


class Listener(Protocol):
    """Who is told what the broker says; all of it on the link's thread, and nothing of it may raise."""

    def on_connected(self) -> None:
        """A new connection stands; retained messages come next."""
        ...

    def on_disconnected(self) -> None:
        """The connection is gone; values are still what they were, and grow old."""
        ...

    def on_message(self, topic: str, payload: str, *, is_retained: bool) -> None:
        """A message came. `is_retained`: it is of unknown age, the broker had kept it."""
        ...


class MqttLink:
    """Subscribes to exactly the given topics, QoS 1, and passes on what they say.

    `last` is the topic by which the others are judged. It is subscribed to in a packet of its own behind them, so that
    a broker that answers in order has sent what it had kept of them before the first word of this one.
    """

    def __init__(
        self, options: BrokerOptions, topics: Iterable[str], listener: Listener, *, folder: Path, last: str = ""
    ) -> None:
        self._options = options
        self._topics = sorted(set(topics) - {last})
        self._last = last
        self._known = {*self._topics, last}
        self._listener = listener
        self._folder = folder
        self._client: Client | None = None
        self._problem = f"not connected to {self._where} yet"

    @property
    def problem(self) -> str:
        """Why nothing is heard from the broker, in a sentence; empty while the connection stands."""
        return self._problem

    def start(self) -> None:
        """Connect in the background and stay connected; raises SourceInvalid for files that cannot be used."""
        from paho.mqtt.client import Client, MQTTv311  # only cars that listen to MQTT pay for it
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, clean_session=True, protocol=MQTTv311)
        if self._options.username:
            password = (
                read_password(self._folder / self._options.password_file) if self._options.password_file else None
            )
            client.username_pw_set(self._options.username, password)
        if self._options.tls:
            client.tls_set_context(self._tls_context())
        client.connect_timeout = CONNECT_SECONDS_MAX
        client.reconnect_delay_set(RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.connect_async(self._options.host, self._options.port, keepalive=self._options.keepalive_seconds)
        self._client = client
        client.loop_start()

    def stop(self) -> None:
        """Say goodbye and end the thread; waits for a connection attempt under way (CONNECT_SECONDS_MAX)."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
            self._problem = "stopped"

    @property
    def _where(self) -> str:
        return f"{self._options.host}:{self._options.port}"

    def _tls_context(self) -> ssl.SSLContext:
        ca_file = self._folder / self._options.ca_file if self._options.ca_file else None
        try:
            return ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SourceInvalid(f"ca_file {ca_file} cannot be used: {error.strerror or error}") from None

    def _on_connect(self, client: Client, _data: object, _flags: object, reason: object, _properties: object) -> None:
        if getattr(reason, "is_failure", False):
            self._problem = f"{self._where} refuses the connection: {reason}"
            return
        self._problem = ""
        self._listener.on_connected()
        client.subscribe([(topic, 1) for topic in self._topics])
        if self._last:
            client.subscribe(self._last, 1)

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        self._problem = f"{self._where} cannot be reached"

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: object, reason: object, _properties: object
    ) -> None:
        if not self._problem:
            self._problem = f"the connection to {self._where} broke: {reason}"
        self._listener.on_disconnected()

    def _on_message(self, _client: Client, _data: object, message: object) -> None:
        payload: bytes = message.payload  # type: ignore[attr-defined]
        topic: str = message.topic  # type: ignore[attr-defined]
        if len(payload) > PAYLOAD_BYTES_MAX or topic not in self._known:
            return
        text = payload.decode("utf-8", errors="replace")
        self._listener.on_message(topic, text, is_retained=bool(message.retain))  # type: ignore[attr-defined]


def read_password(path: Path) -> str:
    """Return the password in a file, without the line end; raises SourceInvalid when others can read it as well."""
    try:
        mode = path.stat().st_mode & 0o777
        content = path.read_bytes()[:PASSWORD_BYTES_MAX].decode("utf-8")
    except (OSError, UnicodeDecodeError):
        raise SourceInvalid(f"password_file {path} cannot be read") from None
    if mode & 0o077:
        raise SourceInvalid(f"password_file {path} can be read by others (mode {mode:o}); run: chmod 600 {path}")
    return content.strip("\r\n")
