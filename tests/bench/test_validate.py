"""The benchmark of verdicts, run small: what it measures is what the pipeline does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fleetcompute.embedded.home import PROJECT_ROOT


@pytest.mark.slow
def test_a_short_run_decides_every_unit_of_each_kind():
    # The suite's own database is none of its business: it starts an installation of its own.
    unset = {"DATABASE_URL", "FLEET_HOME", "BLOB_STORE_URL", "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-m", "bench", "validate", "--json", "--units", "2000"],
        cwd=PROJECT_ROOT,
        env={name: value for name, value in os.environ.items() if name not in unset},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=240,
    )
    report = json.loads(done.stdout)
    assert report["units"] == 3 * 2_000
    assert {"quorum_1", "quorum_2", "trusted", "trusted_over_quorum_1"} < set(report)
