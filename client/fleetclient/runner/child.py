"""The runner process: walls itself in, loads the model, then runs jobs until the agent closes its end.

Its only channel is the socket that it finds as standard input: messages and open files come in, events go out. What a
library prints goes to standard error. It decides nothing: a failure is reported with a reason, and the agent hands the
unit back.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from fleetclient.runner import confinement, syscalls
from fleetclient.runner.bounds import Bounds
from fleetclient.runner.jobs import RunnerEvent, RunnerFailed, RunnerReady, RunnerSettings, event_message
from fleetclient.runner.pipes import Delivery, Inbox, encode_message, read_file
from fleetclient.runner.reasons import detail_of, reason_of

if TYPE_CHECKING:
    from fleetclient.runner.worker import Worker

GPU_PROVIDERS = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider"})


class ModelRefused(Exception):
    """The model that was passed is not the one in the contract."""


def main() -> None:
    """Run until the agent closes its end."""
    channel = socket.socket(fileno=os.dup(0))
    inbox = Inbox(channel)
    first = inbox.receive()
    if first is None:
        return

    def tell(event: RunnerEvent) -> None:
        os.write(channel.fileno(), encode_message(event_message(event)))

    worker = _load(first, tell, inbox)
    while worker is not None and (delivery := inbox.receive()) is not None:
        worker.take(delivery)


def _load(first: Delivery, tell: Any, inbox: Inbox) -> Worker | None:
    """Put up the walls and load the model; None, and a report, where either fails."""
    began = time.monotonic()
    message = dict(first.message)
    agent_pid = message.pop("agent_pid")
    settings = RunnerSettings.from_message(message)
    try:
        holds = _confine(settings, agent_pid)
        session = _open_session(settings, first.files)
    except Exception as error:  # noqa: BLE001 - the edge of this process; what the runtime raises is the model's fault
        tell(RunnerFailed(reason=reason_of(error, "model_load_failed"), detail=detail_of(error)))
        return None
    from fleetclient.runner.worker import Worker

    worker = Worker(settings, session, tell=tell, inbox=inbox)
    tell(RunnerReady(load_seconds=time.monotonic() - began, confinement=holds))
    return worker


def _confine(settings: RunnerSettings, agent_pid: int) -> dict[str, bool]:
    off = settings.walls_off
    holds = confinement.step_back(off=off) | confinement.leave_namespaces(off=off)
    # Imported here: the network is gone, files can still be opened. Nothing is imported later.
    from fleetclient.runner import worker  # noqa: F401

    bounds = Bounds.of(settings.contract, memory_bytes=settings.memory_bytes)
    profile = syscalls.GPU if GPU_PROVIDERS & set(settings.providers) else syscalls.CPU
    holds |= confinement.raise_walls(bounds, parent_pid=agent_pid, profile=profile, off=off)
    return holds


def _open_session(settings: RunnerSettings, files: tuple[int, ...]) -> Any:
    """Return a session of exactly the bytes whose hash is in the contract: what is checked is what is loaded."""
    from fleetclient.runner import compute

    if not files:
        raise ModelRefused("the agent could not open the model's file")
    model, wanted = read_file(files[0]), settings.contract.model.sha256
    os.close(files[0])
    if hashlib.sha256(model).hexdigest() != wanted:
        raise ModelRefused(f"the model's bytes do not have the SHA-256 {wanted[:12]}...")
    return compute.open_session(model, settings.contract, settings.providers)


if __name__ == "__main__":
    main()
