"""One run: start everything, let the cars work, wait for the last credit, check the books, return the figures."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from bench.dispatch.audit import Books, read_books, wait_until_settled
from bench.dispatch.load import Load
from bench.dispatch.options import DispatchOptions, encode_options, read_options
from bench.dispatch.plan import FleetPlan, read_plan
from bench.dispatch.report import Measured, make_report
from bench.measure.installation import fresh_home, paused
from bench.measure.processes import read_processor_time
from bench.measure.statements import (
    Connection,
    count_calls,
    open_database,
    read_statements,
    reset_statements,
    wal_position,
)
from fleetcompute.embedded import Supervisor

# The settler's own pace would only add waiting at the end.
SERVER_ENVIRONMENT = {"FLEET_SETTLE_SECONDS": "1", "FLEET_LOG_LEVEL": "WARNING"}


def run(values: argparse.Namespace) -> dict[str, object]:
    """Run the benchmark with a parsed command line and return its figures."""
    return run_dispatch(read_options(values))


def run_dispatch(options: DispatchOptions) -> dict[str, object]:
    """Measure one run on an installation of its own and return its figures."""
    with (
        fresh_home() as home,
        Supervisor(
            home=home,
            env=SERVER_ENVIRONMENT,
            web_workers=options.web_workers,
            web_threads=options.web_threads,
            worker_concurrency=options.worker_concurrency,
        ) as supervisor,
    ):
        fleet = set_up(supervisor, options, home / "plan.json")
        load = Load(fleet, web_url=supervisor.web_url, connections=options.connections)
        with open_database(supervisor.database_url) as connection:
            measured, books = measure(supervisor, connection, load, options)
            statements, syncs = count_statements(supervisor, connection, load, options)
    return make_report(options, measured, books, load, statements_per_sync=statements / syncs)


def set_up(supervisor: Supervisor, options: DispatchOptions, plan_path: Path) -> FleetPlan:
    """Fill the installation, in a process of its own, and return what the load generator must know."""
    subprocess.run(
        [sys.executable, "-m", "bench.dispatch.setup", str(plan_path), encode_options(options)],
        env={"DJANGO_SETTINGS_MODULE": "fleetcompute.settings.development", **supervisor.env},
        stdout=sys.stderr,
        check=True,
    )
    return read_plan(plan_path)


def measure(
    supervisor: Supervisor, connection: Connection, load: Load, options: DispatchOptions
) -> tuple[Measured, Books]:
    """Let the cars work for the time asked for, then report without asking, until the last credit is in the ledger.

    Before the clock starts every car syncs once without wanting anything: connections and caches are then warm, and
    nothing has been leased.
    """
    load.sync_once(wanted=0)
    reset_statements(connection)
    time_before, wal_before = read_processor_time(supervisor.pids), wal_position(connection)
    own_before, started = time.process_time(), time.monotonic()
    durations = load.sync_for(options.seconds, wanted=options.per_call)
    durations += load.sync_once(wanted=0)
    cars_ended = time.monotonic()
    wait_until_settled(connection)
    ended = time.monotonic()
    measured = Measured(
        durations=durations,
        cars_seconds=cars_ended - started,
        elapsed_seconds=ended - started,
        processor_time=read_processor_time(supervisor.pids).since(time_before),
        load_seconds=time.process_time() - own_before,
        stored=load.tally["stored"],
        wal_bytes=wal_position(connection) - wal_before,
        statements=read_statements(connection),
    )
    return measured, read_books(connection)


def count_statements(
    supervisor: Supervisor, connection: Connection, load: Load, options: DispatchOptions
) -> tuple[int, int]:
    """Return how many statements so many syncs cost, counted by PostgreSQL while only the web server may speak.

    The first round leases; the second also reports, as every sync of a working car does, and is the one that counts.
    """
    with paused(supervisor, "worker", "beat"):
        load.sync_once(wanted=options.per_call)
        reset_statements(connection)
        syncs = len(load.sync_once(wanted=options.per_call))
        return count_calls(read_statements(connection)), syncs
