"""The car's side of one hostile model, inside a forked child: its own walls, its own way to load and run."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np

from fleetclient.runner import (
    compute,
    confinement,
    worker,  # noqa: F401 - all that a runner imports
)
from fleetclient.runner.bounds import Bounds
from fleetclient.wire.contract import Contract, read_contract

BOUNDS: Final = Bounds(memory_bytes=2 * 1024**3, file_bytes=1024**2, cpu_seconds=3)
ROWS: Final = 4
_ELEMENTS_MAX = 1_000_000
_KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
          "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8,
          "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_}  # fmt: skip


def load_and_run(content: bytes, request: dict[str, Any]) -> dict[str, Any]:
    """Wall this process in and use the model; what an admitted one gives must be what the facts say."""
    walls = confinement.leave_namespaces()
    walls |= confinement.raise_walls(BOUNDS, parent_pid=os.getppid())
    contract = _contract(request.get("facts"))
    session = compute.open_session(content, contract, ["CPUExecutionProvider"])
    if request.get("facts"):
        feed = {
            spec.name: np.zeros((ROWS, *spec.shape), compute.DTYPES[spec.dtype]) for spec in contract.inputs
        }  # fmt: skip
        batches = list(compute.run_batches(session, contract, feed, start=0, rows=ROWS))
        outputs = [array for batch in batches for array in batch]
    else:
        outputs = session.run(None, {place.name: _zeros(place) for place in session.get_inputs()})
    return {"walls": walls, "ran": True, "leaked": any(_holds(array, request["secret"]) for array in outputs)}


def _contract(facts: dict[str, Any] | None) -> Contract:
    """Return the contract that the server would make of its facts; without facts, one with nothing in it."""
    given = facts or {"inputs": [], "outputs": [], "batch_rows": ROWS}
    return read_contract(
        {
            "model": {"sha256": "0" * 64, "bytes": 1},
            "inputs": given["inputs"],
            "outputs": [{name: spec[name] for name in ("name", "dtype", "shape")} for spec in given["outputs"]],
            "batch_rows": given["batch_rows"],
            "limits": {"memory_bytes": 1, "seconds": 1, "output_bytes_max": 1, "inline_bytes_max": 1},
            "session": {"graph_optimization": "all", "intra_op_threads": 1},
        }
    )


def _zeros(place: Any) -> Any:
    shape = [extent if isinstance(extent, int) and extent >= 0 else ROWS for extent in place.shape]
    if int(np.prod([float(extent) for extent in shape])) > _ELEMENTS_MAX:
        shape = [1] * len(shape)
    return np.zeros(shape, _KINDS.get(place.type, np.float32))


def _holds(array: Any, secret: bytes) -> bool:
    return isinstance(array, np.ndarray) and array.dtype != object and secret in array.tobytes()
