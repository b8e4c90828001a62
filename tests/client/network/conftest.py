"""An identity that the fake fleet knows, a network, and clocks and servers that count."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetclient.identity import Identity
from fleetclient.netpolicy.options import NetworkOptions
from fleetclient.network import Network, NetworkPolicy
from tests.client.fake_fleet import FakeFleet
from tests.client.support import make_identity


@pytest.fixture
def identity(tmp_path: Path, fleet: FakeFleet) -> Identity:
    return make_identity(tmp_path, fleet)


@pytest.fixture
def network(identity: Identity, fleet: FakeFleet) -> Network:
    return Network(origin=fleet.origin, identity=identity)


@pytest.fixture
def make_network(identity: Identity, fleet: FakeFleet) -> Callable[..., Network]:
    """Make networks with options (`bandwidth_mbit_per_s=1.0`) and a policy (`may_send=...`)."""

    def make(policy: dict[str, object] | None = None, **options: object) -> Network:
        made = NetworkPolicy(options=NetworkOptions(**options), **(policy or {}))  # type: ignore[arg-type]
        return Network(origin=fleet.origin, identity=identity, policy=made)

    return make


class Listener:
    """A server that only notices whether anybody comes."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.origin = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def has_visitors(self) -> bool:
        try:
            self.socket.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.socket.close()
