"""Sandbox probes: every forbidden thing, actually tried from inside the walls, and what came of it.

The agent's side: starts `fleetclient.runner.probe_child`, which tries each in a process of its own, and reports.
For `doctor`, the self-test, and the rule that a GPU is used only if its wider walls pass as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetclient.runner import cgroup
from fleetclient.runner.options import SandboxOptions
from fleetclient.runner.process import child_environment

# Far above what it takes: a child that hangs must not hang its caller for ever.
SECONDS_MAX = 120.0
LIBRARY_HELP = "the library libseccomp is missing; install it: apt install libseccomp2 (or dnf install libseccomp)"
LINUX_HELP = "models can be confined on Linux only; run the client on a Linux system"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeOutcome:
    """One thing that was tried. `how` is the error's name, the signal that ended the process, or what was possible."""

    name: str
    what: str
    is_denied: bool
    how: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeReport:
    """What was tried, and the walls that were up. `reason_refused` says why nothing could be tried, or is empty."""

    outcomes: tuple[ProbeOutcome, ...] = ()
    walls: dict[str, bool]
    reason_refused: str = ""

    @property
    def all_denied(self) -> bool:
        """True when everything was tried and nothing was possible."""
        return bool(self.outcomes) and not self.allowed and not self.reason_refused

    @property
    def allowed(self) -> tuple[ProbeOutcome, ...]:
        """What should not have been possible and was, or failed in a way that proves nothing."""
        return tuple(outcome for outcome in self.outcomes if not outcome.is_denied)


def run_probes(
    options: SandboxOptions | None = None,
    *,
    profile: str = "cpu",
    secret: Path | None = None,
    off: Collection[str] = (),
    only: Collection[str] = (),
) -> ProbeReport:
    """Try everything from inside the walls and report; takes a few seconds, of which two are spent spinning.

    `secret` is a file that must stay unread, such as the identity key. `off` names walls to leave away (`all` for
    none at all) and `only` the probes to run: both for tests.
    """
    report = ask_child({"mode": "probe", "profile": profile, "secret": secret and str(secret), "off": list(off),
                        "only": list(only)})  # fmt: skip
    outcomes = tuple(ProbeOutcome(**outcome) for outcome in report.get("outcomes", ()))
    walls = report["walls"] | {"cgroup": has_cgroup(options or SandboxOptions())}
    return ProbeReport(outcomes=outcomes, walls=walls, reason_refused=report["reason_refused"])


def has_cgroup(options: SandboxOptions) -> bool:
    """Return True where a runner is given a control group of its own."""
    return options.use_cgroup and cgroup.find_home() is not None


def ask_child(request: dict[str, Any]) -> dict[str, Any]:
    """Run the probe child with a request and return its report: `walls`, `reason_refused` and what was asked for."""
    if sys.platform != "linux":
        return _refused(LINUX_HELP)
    with tempfile.TemporaryDirectory(prefix="fleetclient-probe-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "fleetclient.runner.probe_child", json.dumps(request | {"folder": folder})],
                env=child_environment(), stdin=subprocess.DEVNULL, capture_output=True, cwd=folder, process_group=0,
                timeout=SECONDS_MAX, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return _refused(f"the probes did not end within {SECONDS_MAX:.0f} s")
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        words = done.stderr.decode("utf-8", "replace").strip()[-300:]
        return _refused(f"the probes ended with status {done.returncode}: {words}")
    return report


def gpu_walls_hold() -> bool:
    """Return True when the walls for a GPU deny everything that those for the processor do."""
    return run_probes(profile="gpu").all_denied


def _refused(reason: str) -> dict[str, Any]:
    return {"walls": {}, "reason_refused": reason}
