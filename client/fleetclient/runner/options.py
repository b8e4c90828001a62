"""What an owner may say about the walls around strangers' models: the `[sandbox]` section."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxOptions:
    """How the runner is confined. The walls that work needs cannot be turned off here.

    Attributes:
        allow_gpu: let a model use a CUDA or TensorRT device where the runtime has one and where the walls around it
            pass the same probes. They are wider than the processor's: driver calls, device files, generated code.
        use_cgroup: put the runner into a control group of its own, with caps on memory and processes, where the
            system hands this client a part of the control group tree (systemd: `Delegate=yes`).
    """

    allow_gpu: bool = False
    use_cgroup: bool = True
