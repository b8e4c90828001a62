"""The demonstration as a person runs it, with fewer rows: all four checks pass, and one that is broken is noticed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fleetcompute.embedded.home import PROJECT_ROOT
from fleetcompute.embedded.identity import erase_data
from tests.embedded.helpers import clean_environ

ROWS = 400

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run_demo(folder: Path, *arguments: str) -> tuple[int, str]:
    home = folder / "home"
    argv = [sys.executable, "-m", "bench.demo", "--rows", str(ROWS), "--home", str(home)]
    argv += ["--output", str(folder / "output"), *arguments]
    try:
        done = subprocess.run(
            argv, cwd=PROJECT_ROOT, env=clean_environ(), capture_output=True, text=True, timeout=500, check=False
        )
    finally:
        erase_data(home)
    return done.returncode, done.stdout + done.stderr


def test_every_check_passes_and_the_results_are_left_behind(tmp_path: Path) -> None:
    code, printed = run_demo(tmp_path)
    assert code == 0, printed
    assert re.findall(r"(PASS|FAIL)  (\d)\.", printed) == [("PASS", str(number)) for number in range(1, 5)]
    assert "drives off" in printed
    assert "(kill -9)" in printed
    assert re.search(r"[1-9]\d* replicas INVALID, 0 VALID", printed)
    table = pq.read_table(tmp_path / "output" / "airports.parquet")
    assert table.column("row").to_pylist() == list(range(ROWS))
    with np.load(tmp_path / "output" / "digits.npz") as digits:
        assert digits["row"].tolist() == list(range(ROWS))
    assert "Checks" in (tmp_path / "output" / "report.txt").read_text()


def test_a_failed_check_makes_the_exit_code_one(tmp_path: Path) -> None:
    code, printed = run_demo(tmp_path, "--spoil", "output")
    assert code == 1, printed
    assert re.findall(r"(PASS|FAIL)  (\d)\.", printed) == [("FAIL", "1"), ("PASS", "2"), ("PASS", "3"), ("PASS", "4")]
