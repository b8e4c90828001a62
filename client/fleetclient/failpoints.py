"""Named places where a test can have the agent die as if by `kill -9`.

With `FLEETCLIENT_FAIL_POINT=result_journaled` in the environment the process kills itself the first time it passes
there; `result_journaled:3` the third time. Without the variable a fail point costs one comparison.
"""

from __future__ import annotations

import itertools
import os
import signal

FAIL_POINTS = (
    "sync_answered",  # an answer came, nothing of it is in the journal
    "leases_journaled",  # leases are in the journal, nothing was fetched
    "download_chunk_written",  # a part of a model is on disk
    "input_fetched",  # the input of a unit is on disk
    "unit_started",  # the runner was given a unit
    "output_written",  # the runner has written an output, the journal does not know
    "result_journaled",  # the journal knows, the server does not
    "upload_chunk_sent",  # the server has a part of an output
    "upload_finished",  # the server has the output, the journal does not know
    "return_journaled",  # a hand-back is in the journal, the server does not know
)

_wanted, _, _count = os.environ.get("FLEETCLIENT_FAIL_POINT", "").partition(":")
_passes = itertools.count(1)
_deadly_pass = int(_count or 1)


def fail_point(name: str) -> None:
    """Die here if the environment asks for it."""
    if name == _wanted and next(_passes) == _deadly_pass:
        os.kill(os.getpid(), signal.SIGKILL)
