"""The two onnxruntimes: the installed one, and another version in a folder of its own for this run only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from fleetcompute.embedded.home import PROJECT_ROOT

INSTALL_SECONDS_MAX: Final = 300

Outputs = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to run a model. `runtime`: index of the runtime; ways of one class share runtime and level."""

    level: str = "all"
    threads: int = 1
    block: int = 16
    runtime: int = 0

    @property
    def comparison_class(self) -> tuple[int, str]:
        """What the last bits of an output depend on, as far as it can be varied on one machine."""
        return self.runtime, self.level


HONEST: Final = (
    Way(),
    Way(threads=2),
    Way(block=1),
    Way(block=5),
    Way(level="basic"),
    Way(level="none", threads=2),
    Way(runtime=1),
    Way(runtime=1, threads=2, block=1),
    Way(runtime=1, level="none", block=7),
)


class Runtimes:
    """Runs models; knows which versions there are."""

    def __init__(self, folder: Path, other: str) -> None:
        self._folder = folder
        self._paths: list[Path | None] = [None]
        self.versions = [version("onnxruntime")]
        self.problem = "" if other else "none was asked for"
        if other:
            self._install(other)

    def _install(self, wanted: str) -> None:
        target = self._folder / "runtime"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "1", "--no-deps"]
        try:
            done = subprocess.run(
                [*command, "--target", str(target), f"onnxruntime=={wanted}"],
                capture_output=True,
                text=True,
                check=False,
                timeout=INSTALL_SECONDS_MAX,
            )
        except subprocess.TimeoutExpired:
            self.problem = f"installing onnxruntime {wanted} took more than {INSTALL_SECONDS_MAX} s"
            return
        if done.returncode:
            self.problem = f"onnxruntime {wanted} cannot be installed: {done.stderr.strip().splitlines()[-1][:200]}"
            return
        self._paths.append(target)
        self.versions.append(wanted)

    @property
    def ways(self) -> list[Way]:
        """The honest ways that can be tried here."""
        return [way for way in HONEST if way.runtime < len(self._paths)]

    def run(self, model: Path, rows: Path, outputs: Sequence[str], ways: Sequence[Way]) -> Iterator[Outputs]:
        """Yield what the model gives in each way, in order. One process for each runtime."""
        made = [self._folder / f"outputs-{number}.npz" for number in range(len(ways))]
        for runtime, path in enumerate(self._paths):
            jobs = [
                {
                    "model": str(model), "rows": str(rows), "outputs": list(outputs), "level": way.level,
                    "threads": way.threads, "block": way.block, "to": str(to),
                }
                for way, to in zip(ways, made, strict=True) if way.runtime == runtime
            ]  # fmt: skip
            if jobs:
                self._run_child(path, jobs, self.versions[runtime])
        for to in made:
            with np.load(to) as stored:
                yield dict(stored)
            to.unlink()

    def _run_child(self, path: Path | None, jobs: list[dict[str, Any]], wanted: str) -> None:
        job = self._folder / "job.json"
        job.write_text(json.dumps({"ways": jobs}), encoding="utf-8")
        search = os.pathsep.join(str(each) for each in (path, PROJECT_ROOT) if each)
        done = subprocess.run(
            [sys.executable, "-m", "bench.numerics.child", str(job)],
            cwd=PROJECT_ROOT,
            env={**os.environ, "PYTHONPATH": search},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = done.stdout.strip().splitlines()[-1]
        if found != wanted:
            raise RuntimeError(f"the process ran onnxruntime {found}, not {wanted}")

    def report(self) -> dict[str, object]:
        """Return which runtimes took part, and why a second one did not."""
        other = {"other_runtime_missing": self.problem} if self.problem else {}
        return {"runtimes": list(self.versions), **other}
