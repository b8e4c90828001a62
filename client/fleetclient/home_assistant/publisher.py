"""Keeps Home Assistant up to date over one MQTT connection, and takes its pause switch. Everything is retained.

The broker publishes `offline` by itself when the agent dies (MQTT's last will).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fleetclient import __version__
from fleetclient.config import Config
from fleetclient.control import ControlState
from fleetclient.home_assistant.discovery import (
    OFF,
    OFFLINE,
    ON,
    ONLINE,
    Place,
    list_discoveries,
    list_values,
    make_name,
)
from fleetclient.logs import Log
from fleetclient.vehicle.mqtt_link import read_password
from fleetclient.vehicle.mqtt_options import BrokerOptions

if TYPE_CHECKING:
    from paho.mqtt.client import Client

KEEPALIVE_SECONDS = 30
RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX = 1, 120
GOODBYE_SECONDS = 1.0


class HomeAssistant:
    """The connection of one car. `status` gives the agent's document and may be called from any thread."""

    def __init__(
        self,
        config: Config,
        *,
        vehicle_id: str,
        status: Callable[[], Mapping[str, Any]],
        control: ControlState,
        log: Log,
    ) -> None:
        options = config.home_assistant
        self._options = options
        self._broker, self._password = find_broker(config)
        self._folder = config.folder
        self._status = status
        self._control = control
        self._log = log
        self._place = Place(
            discovery_prefix=options.discovery_prefix, topic_prefix=options.topic_prefix, name=make_name(vehicle_id)
        )
        self._discoveries = list_discoveries(
            self._place, car=config.name, version=__version__, currency=config.rules.currency
        )
        self._published: dict[str, str] = {}
        self._due = threading.Event()
        self._is_over = False
        self._client: Client | None = None

    @property
    def place(self) -> Place:
        """Where this car's topics are."""
        return self._place

    def start(self) -> None:
        """Connect in the background and stay connected; raises SourceInvalid for a password file that is no use."""
        from paho.mqtt.client import Client, MQTTv311  # only cars that use MQTT pay for it
        from paho.mqtt.enums import CallbackAPIVersion

        broker = self._broker
        client = Client(CallbackAPIVersion.VERSION2, clean_session=True, protocol=MQTTv311)
        if broker.username:
            client.username_pw_set(broker.username, self._read_password())
        if broker.tls:
            client.tls_set_context(
                ssl.create_default_context(cafile=self._folder / broker.ca_file if broker.ca_file else None)
            )
        client.will_set(self._place.availability, OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.connect_async(broker.host, broker.port, keepalive=KEEPALIVE_SECONDS)
        self._client = client
        client.loop_start()
        threading.Thread(target=self._serve, name="fleetclient-home-assistant", daemon=True).start()

    def stop(self) -> None:
        """Say that the agent is gone, and disconnect."""
        client, self._client, self._is_over = self._client, None, True
        self._due.set()
        if client is not None:
            if client.is_connected():
                self._say_goodbye(client)
            client.disconnect()
            client.loop_stop()

    def _say_goodbye(self, client: Client) -> None:
        try:
            client.publish(self._place.availability, OFFLINE, qos=1, retain=True).wait_for_publish(GOODBYE_SECONDS)
        except (RuntimeError, ValueError) as error:
            # The broker went away a moment ago: its own word for a client that is lost says the same.
            self._log.debug("home_assistant_not_told", error=str(error))

    def _read_password(self) -> str | None:
        if self._password or not self._broker.password_file:
            return self._password or None
        return read_password(self._folder / self._broker.password_file)

    def _on_connect(self, client: Client, _data: object, _flags: object, reason: object, _properties: object) -> None:
        if getattr(reason, "is_failure", False):
            self._log.warning("home_assistant_refused", error=str(reason))
            return
        client.subscribe(self._place.pause_command, qos=1)
        # A broker that lost its memory is told everything again.
        self._published = {}
        for topic, message in self._discoveries.items():
            client.publish(topic, message, qos=1, retain=True)
        client.publish(self._place.availability, ONLINE, qos=1, retain=True)
        self._due.set()

    def _on_message(self, _client: Client, _data: object, message: Any) -> None:
        # A retained command is an old one: somebody's wish of another day.
        if message.topic != self._place.pause_command or message.retain:
            return
        try:
            wish = message.payload.decode("utf-8", "replace").strip().upper()
            if wish == ON:
                self._control.pause()
            elif wish == OFF:
                self._control.resume()
        except OSError as error:
            self._log.warning("control_not_stored", error=error.strerror or str(error))
        self._due.set()

    def _serve(self) -> None:
        while not self._is_over:
            self._due.wait(self._options.interval_seconds)
            self._due.clear()
            client = self._client
            if client is not None and client.is_connected():
                self._publish(client)

    def _publish(self, client: Client) -> None:
        values = list_values(self._place, self._status())
        for topic, value in values.items():
            if self._published.get(topic) != value:
                client.publish(topic, value, qos=1, retain=True)
        self._published = values


def find_broker(config: Config) -> tuple[BrokerOptions, str]:
    """Return the broker and a password that stands in the configuration itself, if one does."""
    options = config.home_assistant
    if not options.host:
        vehicle = config.vehicle
        return (vehicle.teslamate if vehicle.source == "teslamate" else vehicle.mqtt), ""
    broker = BrokerOptions(
        host=options.host,
        port=options.port,
        username=options.username,
        password_file=options.password_file,
        tls=options.tls,
        ca_file=options.ca_file,
    )
    return broker, options.password
