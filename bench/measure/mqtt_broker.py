"""A real MQTT broker (amqtt) on loopback, in a process of its own so that nobody's memory is measured with it.

`start_broker()` is for tests and benchmarks alike. The child announces its port on standard output, and ends when
its standard input closes: it cannot outlive whoever started it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]
_PASSWORDS = "amqtt.plugins.authentication.FileAuthPlugin"
_ANYBODY = "amqtt.plugins.authentication.AnonymousAuthPlugin"


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """What a broker listens with. `port` 0 takes a free one. `password_file` has `name:hash` lines; empty for anybody.
    With `certificate_file` and `key_file` (PEM) it speaks TLS only.
    """

    port: int = 0
    password_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


class MqttBroker:
    """A broker that is listening on 127.0.0.1. Messages and retained values are gone when it stops."""

    host = "127.0.0.1"

    def __init__(self, settings: BrokerSettings) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.measure.mqtt_broker", json.dumps(asdict(settings))],
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        announced = self._process.stdout.readline()
        if not announced:
            self._process.kill()
            raise RuntimeError(f"no MQTT broker; see: {sys.executable} -m bench.measure.mqtt_broker '{{}}'")
        self.port = int(announced)

    @property
    def pid(self) -> int:
        """The broker's process."""
        return self._process.pid

    def stop(self) -> None:
        """End the broker at once, as a power cut would: no goodbye to its clients. May be called twice."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def start_broker(settings: BrokerSettings | None = None) -> Iterator[MqttBroker]:
    """Run a broker for the length of a block."""
    broker = MqttBroker(settings or BrokerSettings())
    try:
        yield broker
    finally:
        broker.stop()


def hash_password(password: str) -> str:
    """Return a password's hash as `password_file` has it after the name and a colon."""
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher

    return PasswordHash((Argon2Hasher(),)).hash(password)


async def _serve(settings: BrokerSettings) -> None:
    from amqtt.broker import Broker  # type: ignore[import-untyped]

    listener: dict[str, Any] = {"type": "tcp", "bind": f"{MqttBroker.host}:{settings.port}"}
    if settings.certificate_file:
        listener |= {"ssl": True, "certfile": settings.certificate_file, "keyfile": settings.key_file}
    plugins = {_PASSWORDS: {"password_file": settings.password_file}} if settings.password_file else {_ANYBODY: {}}
    broker = Broker({"listeners": {"default": listener}, "plugins": plugins})
    await broker.start()
    # amqtt does not tell which port it got for port 0; its own record of the server does.
    server: Any = broker._servers["default"].instance  # noqa: SLF001
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(_serve(BrokerSettings(**json.loads(sys.argv[1]))))
