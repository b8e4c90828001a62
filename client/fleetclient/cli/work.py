"""`run`, `pair`, `unpair`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fleetclient.cli.session import EXIT_ERROR, EXIT_OK, Session
from fleetclient.config import Config
from fleetclient.errors import ClientError

if TYPE_CHECKING:
    from fleetclient.netpolicy.policy import NetworkPolicy

# What `unpair` removes in any case, and what only `--wipe` does: results and history may be worth keeping.
FORGOTTEN = ("identity", "trust", "server-rules.json", "last-sync.json", "status.json")
WIPED = (
    "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "history.sqlite", "history.sqlite-wal",
    "history.sqlite-shm", "usage.json", "control.json", "crashes.json", "selftest.json", "runner.stderr", "empty",
    "inputs", "outputs", "selftest", "client",
)  # fmt: skip


class CarRemoved(ClientError):
    """The fleet does not take this identity any more."""

    code: ClassVar[str] = "car_removed"


def run(session: Session) -> int:
    """Work until SIGTERM."""
    from fleetclient.agent.service import run as run_agent

    return run_agent(session.require_server().config)


def pair(session: Session) -> int:
    """Show a code and wait for the owner."""
    from fleetclient.cli.counted import counted_policy, make_gate, say_root
    from fleetclient.identity import Identity
    from fleetclient.network import Network
    from fleetclient.pairing import pair as pair_car

    config = session.require_server().config
    session.state.lock()
    identity = Identity(session.state.identity)
    if identity.is_revoked:
        raise CarRemoved("this car was removed from the fleet: fleetclient unpair, then pair it again")
    with counted_policy(session, config, is_alone=True) as policy:
        if identity.vehicle_id is not None:
            print(json.dumps({"event": "paired", "vehicle_id": identity.vehicle_id}))
        else:
            network = Network(origin=config.server, identity=identity, policy=policy)
            pair_car(network=network, identity=identity, name=config.name, out=sys.stdout, sleep=time.sleep)
        if root := say_root(make_gate(session, config, policy)):
            print(root, flush=True)
    return EXIT_OK


def unpair(session: Session) -> int:
    """Forget who this car is, after telling the server if it can be reached."""
    state = session.state
    state.lock()
    if not _is_sure(session):
        print("Nothing was changed.", file=sys.stderr)
        return EXIT_ERROR
    is_told = _say_goodbye(session)
    removed = wipe(state.folder, session.config.cache_dir, everything=session.options.wipe)
    told = "The work it held went back." if is_told else "The server was not told; work it held goes to others later."
    text = (
        f"{len(removed)} files and folders were removed from {state.folder}. {told} Remove the car in the portal, too."
    )
    session.show({"unpaired": True, "server_told": is_told, "removed": [str(path) for path in removed]}, text)
    return EXIT_OK


def make_policy(config: Config) -> NetworkPolicy:
    """Return what holds for the few words that a command says to the server."""
    from fleetclient.live import may_send
    from fleetclient.netpolicy.policy import NetworkPolicy

    return NetworkPolicy(options=config.network, folder=config.folder, may_send=lambda: may_send(config))


def wipe(state: Path, cache: Path, *, everything: bool) -> list[Path]:
    """Remove the identity, or all that this client has ever stored; return what was removed."""
    names = (*FORGOTTEN, *WIPED) if everything else FORGOTTEN
    paths = [state / name for name in names] + ([cache] if everything else [])
    removed = [path for path in paths if path.exists()]
    for path in removed:
        # The key's bytes go first: an unlinked file can be read from a disk for a long time.
        for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
            _overwrite(file)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return removed


def _overwrite(file: Path) -> None:
    if file.parent.name == "identity" and not file.is_symlink():
        with file.open("r+b") as opened:
            opened.write(b"\0" * file.stat().st_size)
            opened.flush()
            os.fsync(opened.fileno())


def _is_sure(session: Session) -> bool:
    if session.options.yes:
        return True
    lost = "identity, results that were not sent, and history" if session.options.wipe else "identity"
    try:
        answer = input(f"This removes the car's {lost} from this computer. Type yes to go on: ")
    except EOFError:
        return False
    return answer.strip().lower() == "yes"


def _say_goodbye(session: Session) -> bool:
    """Offer what is finished and give back what is held, in one last message; return whether the server has heard."""
    from fleetclient.agent.exchange import build_sync
    from fleetclient.agent.keeping import list_kept
    from fleetclient.clock import boot_id
    from fleetclient.identity import Identity
    from fleetclient.journal import Journal
    from fleetclient.machine import describe_agent
    from fleetclient.network import Network
    from fleetclient.spool import Spool
    from fleetclient.units import UnitState
    from fleetclient.vehicle.source import VehicleState
    from fleetclient.wire import Capacity, HandBack, encode_sync_request

    config, state = session.config, session.state
    identity = Identity(state.identity)
    if identity.vehicle_id is None or identity.is_revoked or not config.server:
        return False
    journal = Journal(state.journal, boot_id=boot_id())
    held = [unit.token for unit in (*journal.list_units(UnitState.HELD), *list_kept(journal))]
    journal.hand_back(HandBack(token=token, kind="returned", reason="shutting_down") for token in held)
    request = build_sync(
        journal=journal,
        spool=Spool(state.folder),
        agent=describe_agent(config.state_dir),
        state=VehicleState(eligible=False, reasons=("shutting_down",)),
        capacity=Capacity(replicas=0, memory_bytes=config.memory_bytes_reported, opset_max=1),
        models=(),
    )
    journal.close()
    try:
        network = Network(origin=config.server, identity=identity, policy=make_policy(config))
        network.sync(encode_sync_request(request))
    except ClientError as error:
        print(f"fleetclient: the server was not told: {error}", file=sys.stderr)
        return False
    return True
