"""`run`, `pair`, `unpair`."""

from __future__ import annotations

import json
import sys
import time

from fleetclient.cli.session import EXIT_OK, Session


def run(session: Session) -> int:
    """Work until SIGTERM."""
    from fleetclient.agent.service import run as run_agent

    return run_agent(session.require_server().config)


def pair(session: Session) -> int:
    """Show a code and wait for the owner."""
    from fleetclient.identity import Identity
    from fleetclient.network import Network
    from fleetclient.pairing import pair as pair_car

    config = session.require_server().config
    session.state.lock()
    identity = Identity(session.state.identity)
    if identity.vehicle_id is not None:
        print(json.dumps({"event": "paired", "vehicle_id": identity.vehicle_id}))
        return EXIT_OK
    network = Network(origin=config.server, identity=identity)
    pair_car(network=network, identity=identity, name=config.name, out=sys.stdout, sleep=time.sleep)
    return EXIT_OK
