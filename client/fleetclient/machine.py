"""What kind of machine this is, without importing onnxruntime: versions, instruction set, comparison class."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

from fleetclient import __version__
from fleetclient.wire import AgentInfo

_CPU_INFO = Path("/proc/cpuinfo")
_RUNTIME_FOLDER: Final = re.compile(r"onnxruntime(?:_[a-z]+)?-(\d[^-]*)\.dist-info")
# The highest first: what the runtime's own kernels ask the processor for, by the flags that Linux shows.
_X86_TIERS: Final = (
    ("avx512vnni", {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}),
    ("avx512", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    ("avx2vnni", {"avx2", "fma", "avx_vnni"}),
    ("avx2", {"avx2", "fma"}),
    ("avx", {"avx"}),
    ("sse2", {"sse2"}),
)
_ARM_MACHINES: Final = ("aarch64", "arm64")
_X86_MACHINES: Final = ("x86_64", "amd64", "i686")
_ARM_TIERS: Final = (("i8mm", {"asimddp", "i8mm"}), ("dotprod", {"asimddp"}), ("neon", {"asimd"}))
# The ONNX opset that a runtime of unknown abilities surely has: that of the oldest runtime this client installs with.
OPSET_MAX_UNTESTED: Final = 23


def describe_agent(state_dir: Path | None = None) -> AgentInfo:
    """Return what every sync says about this client; the class is that of the last self-test which still holds.

    Without one the class is what the processor's flags promise, and lacks the part that only a test can know.
    """
    from fleetclient.selftest.report import needs_run, read_report

    report = read_report(state_dir) if state_dir is not None and not needs_run(state_dir) else None
    runtime = runtime_version()
    return AgentInfo(
        version=__version__,
        runtime=f"onnxruntime/{runtime}",
        comparison_class=report.comparison_class if report else comparison_class(runtime=runtime, isa=isa_tier()),
    )


def opset_max(state_dir: Path) -> int:
    """Return the highest ONNX opset that the installed runtime was seen to load."""
    from fleetclient.selftest.report import read_report

    report = read_report(state_dir)
    if report is None or report.runtime_version != runtime_version():
        return OPSET_MAX_UNTESTED
    return report.opset_max


def comparison_class(
    *, runtime: str, isa: str, provider: str = "cpu", precision: str = "fp32", level: str = "all", int8: str = ""
) -> str:
    """Return the class: what the last bits of an output depend on, in one word without spaces.

    Execution provider, precision of float products, runtime as major.minor, graph optimisation, instruction set, and
    how 8-bit products are added (`i8exact` or `i8saturating`), where that was seen.
    """
    major_minor = ".".join(runtime.split(".")[:2])
    return f"{provider}-{precision}-ort{major_minor}-{level}-{isa}" + (f"-i8{int8}" if int8 else "")


def runtime_version() -> str:
    """Return the installed onnxruntime's version by the name of its metadata folder; `0.0` when there is none.

    importlib.metadata would tell as well, and costs the agent a megabyte for it.
    """
    for folder in sys.path:
        try:
            names = [entry.name for entry in Path(folder or ".").iterdir() if entry.name.startswith("onnxruntime")]
        except OSError:
            continue
        found = [match.group(1) for name in names if (match := _RUNTIME_FOLDER.fullmatch(name))]
        if found:
            return found[0]
    return "0.0"


def isa_tier() -> str:
    """Return the instruction set tier of this processor."""
    return tier_of(platform.machine(), _cpu_flags())


def tier_of(machine: str, flags: frozenset[str]) -> str:
    """Return the tier that a kind of machine with such flags has; the lowest of its kind when nothing fits."""
    if machine not in (*_ARM_MACHINES, *_X86_MACHINES):
        return machine
    tiers = _ARM_TIERS if machine in _ARM_MACHINES else _X86_TIERS
    return next((name for name, needed in tiers if needed <= flags), tiers[-1][0])


def machine_fingerprint() -> str:
    """Return what changes when the processor's abilities or the kernel do; says nothing of the owner or the car."""
    facts = [platform.machine(), platform.release(), *sorted(_cpu_flags())]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _cpu_flags() -> frozenset[str]:
    try:
        lines = _CPU_INFO.read_text("ascii", "replace").splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").split())
