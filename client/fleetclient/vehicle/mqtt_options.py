"""`[vehicle.teslamate]` and `[vehicle.mqtt]`: the broker, and what its topics mean."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetclient.vehicle.checks import (
    SourceInvalid,
    require_one_of,
    require_signal_names,
    require_topic,
    require_within,
)
from fleetclient.vehicle.signals import BOOLEAN_SIGNALS


@dataclass(frozen=True, kw_only=True)
class BrokerOptions:
    """How to reach an MQTT 3.1.1 broker.

    `host`, `port`: where it listens. `username`: empty for none. `password_file`: a file with the password, which only
    its owner may read (mode 600). `tls`: encrypt, and check the broker's certificate. `ca_file`: the certificate
    authority to check it by (PEM); empty for the system's. `keepalive_seconds`: a broker that is silent for one and a
    half times as long is taken for gone.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    keepalive_seconds: int = 30

    def __post_init__(self) -> None:
        """Refuse what no broker can be."""
        if not self.host:
            raise SourceInvalid("host is missing: the name or address of the MQTT broker")
        require_within("port", self.port, 1, 65535)
        require_within("keepalive_seconds", self.keepalive_seconds, 5, 3600)
        if self.password_file and not self.username:
            raise SourceInvalid("username is missing: MQTT takes no password without one")
        if self.ca_file and not self.tls:
            raise SourceInvalid("ca_file needs tls = true")


@dataclass(frozen=True, kw_only=True)
class TeslamateOptions(BrokerOptions):
    """`[vehicle.teslamate]`: TeslaMate's MQTT topics.

    Beside the broker's keys: `car_id`: TeslaMate's number of the car. `namespace`: its MQTT_NAMESPACE, empty for none.
    `home_names`: names of geofences that are home, without emoji and in any case ("Home" is also "🏡 home").
    """

    car_id: int = 1
    namespace: str = ""
    home_names: tuple[str, ...] = ("Home",)

    def __post_init__(self) -> None:
        """Refuse what is no car of TeslaMate's."""
        super().__post_init__()
        require_within("car_id", self.car_id, 1, 2**31)
        if self.namespace:
            require_topic("namespace", self.namespace)
        if not all(name.strip() for name in self.home_names):
            raise SourceInvalid("home_names has an empty name, and no geofence at all is not home")


@dataclass(frozen=True, kw_only=True)
class MqttSignal:
    """`[vehicle.mqtt.signals.NAME]`: the topic that says one signal, and what its messages mean.

    `topic`: where it is said. `path`: the place in a JSON message, such as "value_json.battery.soc" or "doors.0";
    empty where the message is the value. For yes and no: `on`, `off`: what is said then, in any case; anything else is
    unknown; `invert`: turns the two round. For a number that means yes or no: `numeric`: any number but 0 is `on`.
    For numbers: the signal is `scale` times the number plus `offset`.
    """

    topic: str = ""
    path: str = ""
    on: str = "on"
    off: str = "off"
    invert: bool = False
    numeric: bool = False
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MqttOptions(BrokerOptions):
    """`[vehicle.mqtt]`: state topics as Home Assistant and its friends write them.

    Beside the broker's keys: `availability_topic`: says whether the car's device is there; empty for none.
    `available`, `unavailable`: its messages; while it does not say the first, nothing is known. `is_last_will`: the
    broker itself says `unavailable` when the device is gone (a last will), so its values stay fresh though it speaks
    only of changes. `retained`: what a retained message's time is taken for: "stale" (unknown, so it does not count
    until the topic speaks again) or "fresh" (now). `signals`: one table for each signal that the topics tell.
    """

    availability_topic: str = ""
    available: str = "online"
    unavailable: str = "offline"
    is_last_will: bool = False
    retained: str = "stale"
    signals: dict[str, MqttSignal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse mappings that cannot say anything."""
        super().__post_init__()
        require_one_of("retained", self.retained, ("stale", "fresh"))
        if self.availability_topic:
            require_topic("availability_topic", self.availability_topic)
        elif self.is_last_will:
            raise SourceInvalid("is_last_will needs availability_topic")
        require_signal_names("signals", self.signals)
        for name, signal in self.signals.items():
            _require_meaning(f"signals.{name}", signal, is_boolean=name in BOOLEAN_SIGNALS)


def _require_meaning(key: str, signal: MqttSignal, *, is_boolean: bool) -> None:
    require_topic(f"{key}.topic", signal.topic)
    require_within(f"{key}.scale", signal.scale, -1e9, 1e9)
    require_within(f"{key}.offset", signal.offset, -1e9, 1e9)
    if not is_boolean and (signal.invert or signal.numeric):
        raise SourceInvalid(f"{key} is a number: invert and numeric are for signals that say yes or no")
    if is_boolean and signal.on.casefold() == signal.off.casefold():
        raise SourceInvalid(f"{key}.on and {key}.off are the same text {signal.on!r}; they must differ")
