"""`python -m fleetclient.selftest STATE_DIR [SANDBOX]` runs a self-test and prints its report as JSON.

The agent starts it as a child, so that what it imports is gone afterwards. SANDBOX is the section of the configuration
as a JSON object. Exit status 0: passed; 1: failed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fleetclient.runner.options import SandboxOptions
from fleetclient.selftest.course import run_selftest


def main(arguments: Sequence[str]) -> int:
    """Run it."""
    sandbox = SandboxOptions(**json.loads(arguments[1])) if len(arguments) > 1 else SandboxOptions()
    report = run_selftest(Path(arguments[0]), sandbox=sandbox)
    sys.stdout.write(json.dumps(dataclasses.asdict(report)) + "\n")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
