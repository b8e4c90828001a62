"""Named places where a test can have the agent die as if by `kill -9`.

With `FLEETCLIENT_FAIL_POINT=result_journaled` in the environment the process kills itself the first time it passes
there; `result_journaled:3` the third time; `file_synced@outputs/` when the file at hand has `outputs/` in its path.
Without the variable a fail point costs one comparison.
"""

from __future__ import annotations

import itertools
import os
import signal

# In the order in which a unit meets them.
FAIL_POINTS = (
    "file_written",  # the new content of a file is written beside its place, not forced to disk (see `files`)
    "file_synced",  # it is forced to disk, not renamed
    "file_renamed",  # it is renamed, the folder is not forced to disk
    "journal_uncommitted",  # a transaction of the journal is done but for its COMMIT
    "sync_built",  # a sync is about to be sent
    "sync_answered",  # an answer came, nothing of it is in the journal
    "settled_journaled",  # settled units are out of the journal, their files are still there
    "leases_journaled",  # leases are in the journal, nothing was fetched
    "download_started",  # the partial file of a model is open
    "download_chunk_written",  # a part of a model is on disk
    "download_complete",  # all of a model is on disk, unchecked
    "model_admitted",  # the model has its name
    "input_received",  # the input of a unit is in memory, checked
    "input_fetched",  # the input of a unit is on disk
    "runner_started",  # the runner's process is there, it has no unit
    "unit_given",  # the runner was given a unit
    "unit_started",  # the runner has begun with a unit
    "block_done",  # the runner has finished a row block
    "output_written",  # the runner has written an output, the journal does not know
    "result_journaled",  # the journal knows, the input is still there
    "result_kept",  # the input is gone, the server does not know
    "keep_journaled",  # the journal knows that the server may still ask for the bytes
    "upload_journaled",  # the server wants the bytes, none was sent
    "upload_offset_known",  # the server said how much it has
    "upload_chunk_sent",  # the server has a part of an output
    "upload_finished",  # the server has the output, the journal does not know
    "upload_forgotten",  # the journal has forgotten the unit, its output is still there
    "brake_pressed",  # the runner is frozen because the car left, nothing is decided
    "return_journaled",  # a hand-back is in the journal, the server does not know
    "return_dropped",  # its files are gone, the server does not know
    "control_written",  # the owner's wish is on disk, nobody was told
    "usage_reserved",  # bytes are counted ahead on disk, none of them was moved
)

_wanted, _, _count = os.environ.get("FLEETCLIENT_FAIL_POINT", "").partition(":")
_wanted, _, _subject = _wanted.partition("@")
_passes = itertools.count(1)
_deadly_pass = int(_count or 1)


def fail_point(name: str, subject: str = "") -> None:
    """Die here if the environment asks for it. `subject` is the path of the file at hand, where there is one."""
    if name == _wanted and _subject in subject and next(_passes) == _deadly_pass:
        os.kill(os.getpid(), signal.SIGKILL)
