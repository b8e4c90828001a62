"""What the installed runtime can do: its execution providers, and the highest ONNX opset that it loads.

Asked of a child process, since only importing onnxruntime tells. `python -m fleetclient.selftest.runtime` prints it as
JSON. The child loads models of one node that are written here, so it needs no confinement.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from fleetclient.errors import ClientError

CHILD_SECONDS: Final = 60.0
OPSET_MIN: Final = 17
OPSET_TRIED_MAX: Final = 64
# Fastest first. The short name is the first part of the comparison class; floats of every one are full 32-bit here:
# the sessions that use a GPU switch its shortened products (TF32) off.
PROVIDERS: Final = (
    ("TensorrtExecutionProvider", "tensorrt"),
    ("CUDAExecutionProvider", "cuda"),
    ("CPUExecutionProvider", "cpu"),
)
_IR_VERSION: Final = 8


class RuntimeUnusable(ClientError):
    """The installed onnxruntime cannot be imported or loads not even the simplest model."""

    code: ClassVar[str] = "runtime_unusable"


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeFacts:
    """What an installed runtime can do."""

    version: str
    providers: tuple[str, ...]
    opset_max: int


def choose_provider(
    available: Collection[str], *, allow_gpu: bool, probes_pass: Callable[[str], bool] = lambda _: False
) -> tuple[str, str]:
    """Return the provider to run on, as (onnxruntime's name, short name).

    A GPU is taken only when the owner allows it, the provider is installed, and the confinement of its runner passes
    the same probes as the processor's; the probes are asked last, for they cost seconds.
    """
    for name, short in PROVIDERS[:-1]:
        if allow_gpu and name in available and probes_pass(name):
            return name, short
    return PROVIDERS[-1]


def read_facts() -> RuntimeFacts:
    """Ask a child; raises RuntimeUnusable."""
    command = [sys.executable, "-P", "-m", "fleetclient.selftest.runtime"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=CHILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise RuntimeUnusable(f"onnxruntime did not say what it can do within {CHILD_SECONDS:.0f} s") from None
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RuntimeUnusable(f"onnxruntime cannot be used: {words[-1] if words else f'exit {done.returncode}'}")
    document = json.loads(done.stdout)
    return RuntimeFacts(**{**document, "providers": tuple(document["providers"])})


def find_opset_max(can_load: Callable[[bytes], bool]) -> int:
    """Return the highest opset of which a model can be loaded, by trying; raises RuntimeUnusable."""
    if not can_load(identity_model(OPSET_MIN)):
        raise RuntimeUnusable(f"onnxruntime loads no model of opset {OPSET_MIN}")
    known, too_high = OPSET_MIN, OPSET_TRIED_MAX
    while too_high - known > 1:
        middle = (known + too_high) // 2
        if can_load(identity_model(middle)):
            known = middle
        else:
            too_high = middle
    return known


def identity_model(opset: int) -> bytes:
    """Return a model of one node, y = Identity(x), in the given opset: ONNX's protocol buffers written by hand."""
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Identity")
    graph = _field(1, node) + _field(2, b"g") + _field(11, _float_value(b"x")) + _field(12, _float_value(b"y"))
    return _number(1, _IR_VERSION) + _field(7, graph) + _field(8, _number(2, opset))


def _float_value(name: bytes) -> bytes:
    tensor = _number(1, 1) + _field(2, _field(1, _number(1, 1)))  # FLOAT, one dimension of length 1
    return _field(1, name) + _field(2, _field(1, tensor))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def _number(number: int, value: int) -> bytes:
    return bytes([number << 3, value])


def _main(_: Sequence[str]) -> None:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)

    def can_load(model: bytes) -> bool:
        try:
            onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - whatever the runtime raises here means that it cannot
            return False
        return True

    facts = {
        "version": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "opset_max": find_opset_max(can_load),
    }
    sys.stdout.write(json.dumps(facts))


if __name__ == "__main__":
    _main(sys.argv[1:])
