"""Messages and calls that several tests send."""

from __future__ import annotations

from collections.abc import Callable

from fleetclient import wire
from fleetclient.network import Network

EMPTY_SYNC = wire.encode_sync_request(
    wire.SyncRequest(
        agent=wire.AgentInfo(version="0.1.0", runtime="onnxruntime/1.32.0", comparison_class="cpu"),
        eligible=True,
        reasons=(),
        capacity=wire.Capacity(replicas=0, memory_bytes=1, opset_max=23),
        models=(),
        held=(),
        commitments=(),
        returned=(),
    )
)

# Everything that a network can be asked to do.
CALLS: dict[str, Callable[[Network], object]] = {
    "sync": lambda network: network.sync(EMPTY_SYNC),
    "account": lambda network: network.get_account(since=1),
    "pair_device": lambda network: network.pair_device({}),
    "pair_token": lambda network: network.pair_token({}),
    "rotate_key": lambda network: network.rotate_key(),
    "head": lambda network: network.head(wire.OUTPUTS_PATH + "x"),
    "patch": lambda network: network.patch(wire.OUTPUTS_PATH + "x", b"x" * 1000, {}),
    "download": lambda network: network.download(wire.BLOBS_PATH + "x", start=0, end=9, write=lambda _at, _piece: None),
}
