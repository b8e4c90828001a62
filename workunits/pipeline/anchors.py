"""Anchors: an operator's machine runs again what audits, disputes and calibration ask for.

In: a waiting run. Out: its output as a blob, for the stage that resolves audits. Moves: anchor run WAITING -> RUNNING
-> DONE, back to WAITING for another try, or FAILED. No transaction is open while a unit runs: the claim is a row, and
one of an anchor that died is taken again.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from django.conf import settings
from django.db import transaction

from workunits.domain.errors import FleetError
from workunits.sandbox.rerun import AnchorUnfit, Client, Rerun, RunStopped, Stopwatch, check_machine, run_unit
from workunits.store.anchors import (
    ClaimedRun,
    claim_run,
    fail_run,
    finish_run,
    give_back_run,
    had_problem,
    note_machine,
    release_lost_runs,
)
from workunits.store.blobs import get_blob_store, record_blob
from workunits.store.board import get_contract

log = logging.getLogger(__name__)

# A machine that cannot run anything is looked at again after this, and has no run meanwhile.
UNFIT_REST: Final = timedelta(minutes=1)


class InputDamaged(FleetError):
    """The unit's input in the blob store is not the one that was cut."""

    code: ClassVar[str] = "input_damaged"


def run_next(*, worker: str, now: datetime, should_stop: Callable[[], bool] = lambda: False) -> bool:
    """Run the unit that is wanted most; return whether there was one. `worker`: this machine's name.

    What a machine cannot do is logged and noted at it, and its run is another's then. `should_stop` is asked while a
    unit runs: the unit is broken off and waits again.
    """
    if had_problem(worker, now - UNFIT_REST):
        return False
    client = get_client()
    try:
        class_name = check_machine(client)
    except AnchorUnfit as problem:
        _note_unfit(worker, problem, now)
        return False
    note_machine(worker, now, comparison_class=class_name)
    release_lost_runs(now)
    run = claim_run(worker, now)
    if run is None:
        return False
    watch = Stopwatch()
    try:
        _run(run, worker, client=client, now=now, watch=watch, should_stop=should_stop)
    except RunStopped:
        give_back_run(run, worker)
    except AnchorUnfit as problem:
        check_machine.cache_clear()
        fail_run(run, worker, reason=str(problem), now=now + watch.elapsed)
        _note_unfit(worker, problem, now + watch.elapsed)
    except FleetError as problem:
        log.warning("unit %s of batch %s cannot be run: %s", run.unit_number, run.batch_id, problem)
        fail_run(run, worker, reason=str(problem), now=now + watch.elapsed)
    return True


def get_client() -> Client:
    """Return how this machine's settings say that the vehicle client is started."""
    return Client(command=settings.FLEET_ANCHOR_COMMAND, folder=settings.FLEET_ANCHOR_FOLDER)


def _run(
    run: ClaimedRun,
    worker: str,
    *,
    client: Client,
    now: datetime,
    watch: Stopwatch,
    should_stop: Callable[[], bool],
) -> None:
    contract, blobs = get_contract(run.batch_id), get_blob_store()
    unit_input = blobs.read(run.shard_sha256, run.byte_start, run.byte_end)
    if hashlib.sha256(unit_input).digest() != run.input_digest:
        raise InputDamaged
    class_name = check_machine(client)
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=client.folder) as folder,
        blobs.local_path(contract["model"]["sha256"]) as model,
    ):
        done = run_unit(
            client,
            Path(folder),
            contract=contract,
            model=model,
            unit_input=unit_input,
            rows=run.rows,
            beat=lambda: note_machine(worker, now + watch.elapsed, comparison_class=class_name),
            should_stop=should_stop,
        )
        _keep(run, worker, done, now + watch.elapsed)


def _keep(run: ClaimedRun, worker: str, done: Rerun, now: datetime) -> None:
    stored = get_blob_store().put_file(done.path)
    with transaction.atomic():
        record_blob(stored, now)
        finish_run(
            run, worker, sha256=stored.sha256, comparison_class=done.comparison_class, seconds=done.seconds, now=now
        )


def _note_unfit(worker: str, problem: AnchorUnfit, now: datetime) -> None:
    log.error("this machine cannot run units: %s", problem)
    note_machine(worker, now, problem=str(problem))
