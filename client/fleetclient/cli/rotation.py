"""`rotate-key`: gives this car a new key, as the agent does by itself every three months."""

from __future__ import annotations

from typing import ClassVar

from fleetclient.cli.counted import counted_policy, make_gate
from fleetclient.cli.session import EXIT_OK, Session
from fleetclient.errors import ClientError


class NothingToRenew(ClientError):
    """This car has no key that a fleet knows."""

    code: ClassVar[str] = "nothing_to_renew"


def rotate_key(session: Session) -> int:
    """Renew the key. Whatever ends this half way, both keys stay until the server has confirmed one."""
    from fleetclient.identity import Identity
    from fleetclient.network import Network

    config = session.require_server().config
    session.state.lock()
    identity = Identity(session.state.identity)
    if identity.is_revoked:
        raise NothingToRenew("this car was removed from the fleet: fleetclient unpair, then pair it again")
    if identity.vehicle_id is None:
        raise NothingToRenew("this car is not paired yet: fleetclient pair")
    with counted_policy(session, config, is_alone=True) as policy:
        make_gate(session, config, policy)  # binds the policy to what the fleet has signed
        Network(origin=config.server, identity=identity, policy=policy).rotate_key()
    key = identity.public_key.hex()
    session.show({"rotated": True, "vehicle_id": identity.vehicle_id, "public_key": key}, f"The new key is {key}.")
    return EXIT_OK
