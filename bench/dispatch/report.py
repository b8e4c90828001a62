"""The figures of a run, in the order in which they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.dispatch.audit import Books
from bench.dispatch.load import Load
from bench.dispatch.options import DispatchOptions
from bench.measure.machine import describe_machine
from bench.measure.percentiles import latency_summary
from bench.measure.processes import ProcessorTime
from bench.measure.statements import Statement, count_calls, fold_lanes

STATEMENTS_LISTED = 12
STATEMENT_CHARS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What clocks and counters said; `cars_seconds` ends with the last answer, the others with the last credit."""

    durations: Sequence[float]
    cars_seconds: float
    elapsed_seconds: float
    processor_time: ProcessorTime
    load_seconds: float
    stored: int
    wal_bytes: int
    statements: Sequence[Statement]


def make_report(
    options: DispatchOptions, measured: Measured, books: Books, load: Load, *, statements_per_sync: float
) -> dict[str, object]:
    """Return the figures. `errors` adds up refused syncs, refused replicas and broken invariants."""
    syncs, credited = len(measured.durations), books.credited
    cpu = measured.processor_time.ms_per_item(credited)
    # What the cars were told to forget must be what the server has.
    unseen = abs(measured.stored - books.reported)
    return {
        "sync_per_second": round(syncs / measured.cars_seconds, 1),
        "replicas_per_second": round(credited / measured.elapsed_seconds, 1),
        **latency_summary(measured.durations),
        "statements_per_sync": round(statements_per_sync, 3),
        "statements_per_sync_all_processes": round(count_calls(measured.statements) / max(1, syncs), 3),
        "per_call": options.per_call,
        "quorum": options.quorum,
        "seconds": options.seconds,
        "output_bytes": options.output_bytes,
        "owners": options.owners,
        "batches": options.batches,
        "units": options.units * options.batches,
        "connections": options.connections,
        "elapsed_seconds": round(measured.elapsed_seconds, 2),
        "syncs": syncs,
        "credited": credited,
        "unpaired": books.unpaired,
        "transfers": books.transfers,
        "signatures_checked": load.tally["signatures_checked"],
        "server_cpu_ms_per_item": cpu.pop("total"),
        "server_cpu_ms_per_item_by_process": cpu,
        "load_cpu_ms_per_item": round(1000.0 * measured.load_seconds / max(1, credited), 4),
        "wal_bytes_per_replica": round(measured.wal_bytes / max(1, credited)),
        "errors": load.tally["problems"] + sum(books.wrong.values()) + unseen,
        "problems": [*load.problems, *(f"{name}: {count}" for name, count in books.wrong.items())],
        "statements": [_describe(statement) for statement in fold_lanes(measured.statements)[:STATEMENTS_LISTED]],
        "machine": describe_machine(),
    }


def _describe(statement: Statement) -> dict[str, object]:
    text = " ".join(statement.text.split())
    return {
        "text": text[:STATEMENT_CHARS],
        "calls": statement.calls,
        "mean_ms": round(statement.total_ms / max(1, statement.calls), 3),
        "total_ms": round(statement.total_ms, 1),
        "wal_bytes": statement.wal_bytes,
    }
