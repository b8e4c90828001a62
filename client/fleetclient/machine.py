"""What kind of machine this is, without importing onnxruntime: version, comparison class."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fleetclient import __version__
from fleetclient.wire import AgentInfo

_CPU_INFO = Path("/proc/cpuinfo")


def describe_agent() -> AgentInfo:
    """Return what every sync says about this client."""
    runtime = _runtime_version()
    major_minor = ".".join(runtime.split(".")[:2])
    return AgentInfo(
        version=__version__,
        runtime=f"onnxruntime/{runtime}",
        # Execution provider, precision, runtime, instruction set: what the last bits of an output depend on.
        comparison_class=f"cpu-fp32-ort{major_minor}-{_instruction_set()}",
    )


def _runtime_version() -> str:
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return "0.0"


def _instruction_set() -> str:
    if platform.machine() in ("aarch64", "arm64"):
        return "neon"
    try:
        flags = _CPU_INFO.read_text("ascii", "replace")
    except OSError:
        return "sse2"
    return next((name for flag, name in (("avx512f", "avx512"), ("avx2", "avx2")) if flag in flags), "sse2")
