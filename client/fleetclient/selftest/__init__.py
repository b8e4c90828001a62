"""The self-test: three small graphs through the confined runner, compared with what they should give.

It runs before the first lease, after every update and once a week, in a child process of its own, so that the agent
imports none of it. What comes out is a file in the state folder: passed or why not, how fast, and the comparison class.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from fleetclient.runner.options import SandboxOptions
from fleetclient.selftest.report import (
    GraphReport,
    SelfTestReport,
    needs_run,
    read_report,
    why_ineligible,
)

__all__ = ["GraphReport", "SelfTestReport", "needs_run", "read_report", "run_in_child", "why_ineligible"]

CHILD_SECONDS: Final = 300.0


def run_in_child(state_dir: Path, sandbox: SandboxOptions | None = None) -> SelfTestReport | None:
    """Run a self-test in a child process and return its report; None when the child ended without one.

    Blocks for some seconds; may be called by any thread. `sandbox` is that of real work.
    """
    before = read_report(state_dir)
    walls = json.dumps(dataclasses.asdict(sandbox or SandboxOptions()))
    command = [sys.executable, "-P", "-m", "fleetclient.selftest", str(state_dir), walls]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, timeout=CHILD_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    report = read_report(state_dir)
    return None if report == before else report
