"""Runs scenarios in a process of their own and returns what they printed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from bench.trust.http.options import HttpOptions, encode_options, read_options
from fleetcompute.embedded.home import PROJECT_ROOT


class StageFailed(RuntimeError):
    """The process of the scenarios ended with an error; its last words are on standard error."""


def run_http(values: argparse.Namespace) -> list[dict[str, Any]]:
    """Run what the command line of `trust` asks for. Raises StageFailed."""
    options = read_options(values)
    return [] if options is None else run_scenarios(options)


def run_scenarios(options: HttpOptions) -> list[dict[str, Any]]:
    """Run the scenarios that the options name, and return the figures of each. Raises StageFailed."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.trust.http.stage", encode_options(options)],
        cwd=PROJECT_ROOT,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StageFailed(f"bench.trust.http.stage ended with status {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]
