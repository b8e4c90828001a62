"""Drives the zygotes over the corpus and judges what came of each model, on both sides."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.hostile import car, server
from bench.hostile.corpus import Hostile, make_corpus

PROJECT_ROOT: Final = Path(__file__).resolve().parents[2]
# What a child may use beyond its limit: the kernel counts whole seconds, and begins with a signal that can be caught.
CPU_SLACK_SECONDS: Final = 2.5
SECRET_BYTES: Final = 48  # as many as the constants that try to hold it
_NAMES: Final = {"server": server.LIMITS.memory_bytes, "car": car.BOUNDS.memory_bytes + 512 * 1024**2}
_CPU: Final = {"server": server.LIMITS.seconds, "car": car.BOUNDS.cpu_seconds}


@dataclass(kw_only=True)
class Findings:
    """Counts of what happened, and a line for each thing that should not have."""

    counts: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    cpu_seconds_max: float = 0.0
    memory_bytes_max: int = 0
    seconds: float = 0.0

    def figures(self) -> dict[str, object]:
        """Return the benchmark's report."""
        return {
            "models": self.counts["models"],
            "seconds": round(self.seconds, 1),
            **{name: self.counts[name] for name in sorted(self.counts) if name != "models"},
            "refusals": dict(self.codes.most_common()),
            "cpu_seconds_max": round(self.cpu_seconds_max, 2),
            "memory_mb_max": round(self.memory_bytes_max / 1e6),
            "errors": len(self.errors),
            "error_lines": self.errors[:20],
        }


class Zygote:
    """One prepared process. Not safe for several threads."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{PROJECT_ROOT}{os.pathsep}{PROJECT_ROOT / 'client'}"}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        self._model = folder.parent / f"{folder.name}.onnx"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hostile.zygote", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
        )  # fmt: skip
        hello = self._read()
        self.secret_address: int = hello["secret_address"]

    def ask(self, content: bytes, side: str, **more: Any) -> dict[str, Any]:
        """Have one child handle the model; raises EOFError when the process itself is gone."""
        self._model.write_bytes(content)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"path": str(self._model), "side": side, **more}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the process that holds the walls is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Campaign:
    """So many models of one seed, several at a time."""

    def __init__(self, *, models: int, seed: int = 0, workers: int = 2) -> None:
        self._models, self._seed, self._workers = models, seed, workers
        self._findings = Findings()
        self._lock = threading.Lock()

    def run(self) -> Findings:
        """Do it all and return what was found."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            bait = Bait(Path(folder), self._workers)
            zygotes = [Zygote(place) for place in bait.folders]
            try:
                self._run(zygotes, bait)
            finally:
                for zygote in zygotes:
                    zygote.close()
            self._findings.errors += [f"the bait was touched: {path}" for path in bait.list_touched()]
            if self._findings.counts["models"] != self._models:
                self._findings.errors.append(f"only {self._findings.counts['models']} of {self._models} were judged")
        self._findings.seconds = time.monotonic() - began
        return self._findings

    def _run(self, zygotes: list[Zygote], bait: Bait) -> None:
        # Every zygote holds the secret at its own address; the models name the first one's.
        corpus = make_corpus(
            self._models, seed=self._seed, secret_address=zygotes[0].secret_address, secret_path=str(bait.secret)
        )
        threads = [threading.Thread(target=self._work, args=(zygote, corpus)) for zygote in zygotes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, zygote: Zygote, corpus: Iterator[Hostile]) -> None:
        while True:
            with self._lock:
                hostile = next(corpus, None)
            if hostile is None:
                return
            try:
                examined = zygote.ask(hostile.content, "server")
                facts = (examined["answer"] or {}).get("facts")
                used = zygote.ask(hostile.content, "car", **({"facts": facts} if facts else {}))
            except EOFError as error:
                with self._lock:
                    self._findings.errors.append(f"{hostile.name}: {error}")
                return
            with self._lock:
                self._findings.counts["models"] += 1
                Judge(self._findings, hostile).judge(examined, used)


class Judge:
    """Says of one model what happened, and what should not have."""

    def __init__(self, findings: Findings, hostile: Hostile) -> None:
        self._findings = findings
        self._hostile = hostile

    def judge(self, examined: dict[str, Any], used: dict[str, Any]) -> None:
        """Count both sides and note what is wrong."""
        self._check_limits("server", examined)
        self._check_limits("car", used)
        is_admitted = self._judge_server(examined)
        self._judge_car(used, is_admitted=is_admitted)

    def _judge_server(self, examined: dict[str, Any]) -> bool:
        answer = examined["answer"] or {}
        if "facts" in answer:
            self._count("server_admitted")
            if self._hostile.must == "refuse":
                self._wrong("the server admitted it")
            return True
        if self._hostile.must == "admit":
            self._wrong(f"the server refused a valid model: {answer or examined}")
        if "problems" in answer:
            self._count("server_refused")
            self._findings.codes[answer["problems"][0]["code"]] += 1
            if not answer["problems"][0]["detail"]:
                self._wrong("the refusal has no reason")
        elif "raised" in answer:
            self._wrong(f"the examination raised {answer['raised']}")
        else:
            self._count("server_out_of_time" if self._is_late(examined) else "server_crashed")
        return False

    def _judge_car(self, used: dict[str, Any], *, is_admitted: bool) -> None:
        answer = used["answer"] or {}
        if answer.get("leaked"):
            self._wrong("the model read a secret")
        if answer.get("ran"):
            self._count("car_ran")
        elif "raised" in answer:
            self._count("car_failed")
        else:
            self._count("car_out_of_time" if self._is_late(used) else "car_crashed")
        if is_admitted and not answer.get("ran"):
            self._wrong(f"admitted, and the car cannot run it as the report says: {answer or used}")

    def _check_limits(self, side: str, ended: dict[str, Any]) -> None:
        findings = self._findings
        findings.cpu_seconds_max = max(findings.cpu_seconds_max, ended["cpu_seconds"])
        findings.memory_bytes_max = max(findings.memory_bytes_max, ended["memory_bytes"])
        if ended["signal"] == signal.SIGSYS:
            self._count("breaches_stopped")
            self._wrong(f"the {side}'s child made a system call that only an attack makes")
        if ended["cpu_seconds"] > _CPU[side] + CPU_SLACK_SECONDS:
            self._wrong(f"the {side}'s child used {ended['cpu_seconds']:.1f} s of processor time")
        if ended["memory_bytes"] > _NAMES[side]:
            self._wrong(f"the {side}'s child used {ended['memory_bytes']} bytes")

    @staticmethod
    def _is_late(ended: dict[str, Any]) -> bool:
        return ended["overdue"] or ended["signal"] in (signal.SIGXCPU, signal.SIGKILL)

    def _count(self, what: str) -> None:
        self._findings.counts[what] += 1

    def _wrong(self, what: str) -> None:
        digest = hashlib.sha256(self._hostile.content).hexdigest()[:12]
        self._findings.errors.append(f"{self._hostile.name} ({digest}): {what}"[:600])


class Bait:
    """Files that a hostile model might read or change, around and in the folders where the children work."""

    def __init__(self, folder: Path, count: int) -> None:
        self.secret = folder / "secret.bin"
        self.secret.write_bytes(secrets.token_bytes(SECRET_BYTES))
        self.folders = [folder / f"work{number}" for number in range(count)]
        for place in self.folders:
            (place / "folder").mkdir(parents=True)
            (place / "weights.bin").write_bytes(self.secret.read_bytes())
            (place / "link.bin").symlink_to(self.secret)
            (place / "hard.bin").hardlink_to(self.secret)
        self._before = self._look()

    def list_touched(self) -> list[str]:
        """Return what is there and was not, is gone, or has changed."""
        now = self._look()
        return sorted(path for path in now.keys() | self._before.keys() if now.get(path) != self._before.get(path))

    def _look(self) -> dict[str, bytes]:
        return {
            str(path): path.read_bytes() if path.is_file() else b""
            for place in self.folders
            for path in (self.secret, *place.rglob("*"))
        }
