"""The benchmark of verdicts, run small: what it measures is what the pipeline does."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_short_run_decides_every_unit_of_each_kind():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "validate", "--json", "--units", "2000"],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    report = json.loads(done.stdout)
    assert report["units"] == 3 * 2_000
    assert report["trusted_over_quorum_1"] > 0
    assert {"quorum_1", "quorum_2", "trusted"} < set(report)
