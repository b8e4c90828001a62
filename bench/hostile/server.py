"""The server's side of one hostile model, inside a forked child: its own locks, its own examination."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Final

from workunits.sandbox import calibrate, child, dryrun, jail
from workunits.sandbox.report import AdmissionLimits, AdmissionRequest, Refused

LIMITS: Final = AdmissionLimits(seconds=4, memory_bytes=3 * 1024**3)
REQUEST: Final = AdmissionRequest(batch_rows=4, limits=LIMITS)


def warm_up() -> None:
    """Load what an examination loads at first use; importing this module has imported all the rest."""
    calibrate.warm_up()


def examine(content: bytes, request: dict[str, Any]) -> dict[str, Any]:
    """Lock this process down and examine the model; return facts or problems, and the locks that hold."""
    del request
    probe = dryrun.MemoryProbe()
    locks = jail.lock_down(LIMITS, parent_pid=os.getppid())
    try:
        facts = child.examine(content, REQUEST, probe)
    except Refused as refusal:
        return {"locks": locks, "problems": [dataclasses.asdict(problem) for problem in refusal.problems[:5]]}
    except MemoryError:
        return {"locks": locks, "problems": [dataclasses.asdict(dryrun.OUT_OF_MEMORY)]}
    return {"locks": locks, "facts": dataclasses.asdict(facts)}
