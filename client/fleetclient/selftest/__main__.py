"""`python -m fleetclient.selftest STATE_DIR [SETTINGS]` runs a self-test and prints its report as JSON.

The agent starts it as a child, so that what it imports is gone afterwards. SETTINGS is a JSON object: `runner_options`
(further fields of a runner's settings), `allow_gpu`. Exit status 0: passed; 1: failed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleetclient.selftest.course import run_selftest


def main(arguments: Sequence[str]) -> int:
    """Run it."""
    settings: dict[str, Any] = json.loads(arguments[1]) if len(arguments) > 1 else {}
    report = run_selftest(Path(arguments[0]), **settings)
    sys.stdout.write(json.dumps(dataclasses.asdict(report)) + "\n")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
