"""What a verdict costs: units whose outputs are here, decided by the stage itself, as a Celery worker would.

Three kinds in turn, so that a machine's drift meets all alike: one output and done (`quorum: 1`), two that agree
(`quorum: 2`), and level `standard` with vehicles that are believed, of whose results the floor's share is drawn for an
audit. A PostgreSQL of its own, that waits for the disk. Audits themselves are further runs and are not in it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.measure.installation import fresh_home
from bench.measure.machine import describe_machine
from bench.measure.processes import read_processor_time
from fleetcompute.embedded import Services

VEHICLES: Final = 400
ROUNDS: Final = 4
OUTPUT_BYTES: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of batch: how many outputs a unit has, and at which level."""

    name: str
    level: str
    replicas: int


KINDS: Final = (
    Kind(name="quorum_1", level="quorum", replicas=1),
    Kind(name="quorum_2", level="quorum", replicas=2),
    Kind(name="trusted", level="standard", replicas=1),
)


@dataclass(slots=True)
class Spent:
    """What the rounds of one kind have cost so far."""

    units: int = 0
    seconds: float = 0.0
    database_ms: float = 0.0
    python_ms: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return the figures of one unit."""
        return {
            "units_per_second": round(self.units / self.seconds, 1),
            "database_cpu_ms_per_unit": round(self.database_ms / self.units, 4),
            "python_cpu_ms_per_unit": round(self.python_ms / self.units, 4),
            "cpu_ms_per_unit": round((self.database_ms + self.python_ms) / self.units, 4),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--units", type=int, default=40_000, help="work units of each kind, in all rounds")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Decide the units and return the figures."""
    with fresh_home() as home, Services(home, with_valkey=False) as services:
        _set_up_django(services.env)
        vehicles = _make_vehicles()
        units = options.units // ROUNDS
        _round(KINDS[0], vehicles, 1_000, services.pids())  # warms plans and caches
        spent: dict[str, Spent] = defaultdict(Spent)
        for _ in range(ROUNDS):
            for kind in KINDS:
                _add(spent[kind.name], _round(kind, vehicles, units, services.pids()))
        _close_connection()
    return _report(spent)


def _report(spent: Mapping[str, Spent]) -> dict[str, object]:
    figures = {name: each.figures() for name, each in spent.items()}
    cheapest = figures["quorum_1"]["cpu_ms_per_unit"]
    return {
        "benchmark": "validate",
        "units": sum(each.units for each in spent.values()),
        "units_per_second": figures["trusted"]["units_per_second"],
        "server_cpu_ms_per_item": figures["trusted"]["cpu_ms_per_unit"],
        "trusted_over_quorum_1": round(figures["trusted"]["cpu_ms_per_unit"] / cheapest, 3),
        "quorum_2_over_quorum_1": round(figures["quorum_2"]["cpu_ms_per_unit"] / cheapest, 3),
        **figures,
        "machine": describe_machine(),
    }


def _add(total: Spent, part: Spent) -> None:
    total.units += part.units
    total.seconds += part.seconds
    total.database_ms += part.database_ms
    total.python_ms += part.python_ms


def _set_up_django(environ: Mapping[str, str]) -> None:
    os.environ.update(
        environ, DJANGO_SETTINGS_MODULE="fleetcompute.settings.development", FLEET_ADMISSION_REQUIRED="no"
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def _close_connection() -> None:
    from django.db import connection

    connection.close()


def _make_vehicles() -> list[tuple[int, int]]:
    """Return owner and vehicle ids, each owner with one car."""
    from workunits.models import Owner, User, Vehicle, VehiclePresence

    pairs = []
    for number in range(VEHICLES):
        owner = Owner.objects.create(user=User.objects.create(username=f"owner-{number}"), display_name="owner")
        key = number.to_bytes(32, "big")
        vehicle = Vehicle.objects.create(owner=owner, name="car", public_key=key)
        VehiclePresence.objects.create(vehicle=vehicle)
        pairs.append((owner.id, vehicle.id))
    return pairs


def _round(kind: Kind, vehicles: list[tuple[int, int]], units: int, pids: Mapping[str, int]) -> Spent:
    """Make a batch whose outputs are all here, decide it, and return what that took."""
    from workunits.pipeline.validate import validate_ready
    from workunits.store.verdicts import list_batches_to_review

    now = dt.datetime.now(dt.UTC)
    batch = _make_batch(kind, units)
    _report_outputs(batch.id, kind, vehicles, units, now)
    database = {"PostgreSQL": pids["PostgreSQL"]}
    before, own_before, start = read_processor_time(database), time.process_time(), time.perf_counter()
    # Until every report was looked at, not only every unit decided: the rest would be counted in the next round.
    while list_batches_to_review():
        validate_ready(now=now)
    seconds, own = time.perf_counter() - start, time.process_time() - own_before
    spent = read_processor_time(database).since(before).seconds["postgres"]
    _check(batch.id, kind, units)
    return Spent(units=units, seconds=seconds, database_ms=1000 * spent, python_ms=1000 * own)


def _make_batch(kind: Kind, units: int) -> Any:
    from workunits.models import Batch, BatchProgress, Blob, Dataset, OnnxModel, Project

    blob, _ = Blob.objects.get_or_create(sha256="0" * 64, defaults={"size_bytes": 1})
    project, _ = Project.objects.get_or_create(name="benchmark")
    model = OnnxModel.objects.create(
        project=project,
        name="model",
        blob=blob,
        opset=17,
        operators=["MatMul"],
        inputs=[{"name": "x", "dtype": "F32", "shape": [1]}],
        outputs=[{"name": "y", "dtype": "F32", "shape": [1], "comparator": "dense", "tolerance": 1e-4}],
        batch_rows=1,
        flops_per_row=1_000,
        memory_bytes=1,
    )
    dataset = Dataset.objects.create(project=project, name="data", format="npz", blob=blob, rows=units, columns=[])
    batch = Batch.objects.create(
        project=project,
        model=model,
        dataset=dataset,
        quorum=kind.replicas,
        level=kind.level,
        status="in_progress",
        memory_bytes=1,
        opset=17,
        unit_target_seconds=60,
        price_per_row_microcredits=1,
        rows_total=units,
        units_total=units,
    )
    BatchProgress.objects.create(batch=batch, units_open=units)
    return batch


def _report_outputs(batch_id: int, kind: Kind, vehicles: list[tuple[int, int]], units: int, now: dt.datetime) -> None:
    """Write units, replicas and reviews as leases and syncs leave them; the floor's share is drawn."""
    from django.conf import settings
    from django.db import connection

    from workunits.sql import load_sql

    drawn_every = round(1 / settings.FLEET.audit_floor_ratio) if kind.level == "standard" else units + 1
    parameters: dict[str, Any] = {
        "batch_id": batch_id,
        "units": units,
        "replicas": kind.replicas,
        "owners": [owner for owner, _ in vehicles],
        "vehicles": [vehicle for _, vehicle in vehicles],
        "drawn_every": drawn_every,
        "bytes": OUTPUT_BYTES,
        "now": now,
    }
    with connection.cursor() as cursor:
        find_lane = load_sql("split_find_lane")
        cursor.execute(f"UPDATE batch SET lane = ({find_lane}) WHERE id = %(batch_id)s", parameters)  # noqa: S608
        cursor.execute(
            "INSERT INTO unit (batch_id, number, shard_number, row_start, rows, byte_start, byte_end, input_digest,"
            " reward_microcredits, needed, place)"
            " SELECT %(batch_id)s, n, 0, n, 1, n, n + 1, sha256(n::text::bytea), 1000, 0, n"
            " FROM generate_series(0, %(units)s - 1) AS n",
            parameters,
        )
        cursor.execute(
            "INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, state, rows, leased_at, deadline_at,"
            " committed_at, reported_at, commitment, output_bytes, output_digest, output, seconds, weight, sequence,"
            " drawn, comparison_class)"
            " SELECT %(batch_id)s, n, (%(owners)s::integer[])[i], (%(vehicles)s::bigint[])[i], 'REPORTED', 1,"
            " %(now)s, %(now)s::timestamptz + interval '1 hour', %(now)s, %(now)s, sha256(n::text::bytea),"
            " %(bytes)s, sha256(n::text::bytea), repeat('x', %(bytes)s)::bytea, 1, 1000, n + 1,"
            " n %% %(drawn_every)s = 0 AND %(drawn_every)s < %(units)s, 'x86'"
            " FROM generate_series(0, %(units)s - 1) AS n, generate_series(1, %(replicas)s) AS copy,"
            " LATERAL (SELECT 1 + (n + copy) %% cardinality(%(owners)s::integer[]) AS i) AS chosen",
            parameters,
        )
        cursor.execute(
            "INSERT INTO review (batch_id, unit_number) SELECT %(batch_id)s, n"
            " FROM generate_series(1, %(replicas)s) AS copy, generate_series(0, %(units)s - 1) AS n ORDER BY copy, n",
            parameters,
        )
        cursor.execute("ANALYZE unit, replica, review, earning_item, audit")


def _check(batch_id: int, kind: Kind, units: int) -> None:
    """Refuse to report figures of a run that did not do its work."""
    from workunits.models import Audit, BatchProgress, EarningItem

    if kind.level == "standard" and not Audit.objects.filter(batch_id=batch_id, state="open").exists():
        raise RuntimeError("no result was drawn for an audit")
    progress = BatchProgress.objects.get(batch_id=batch_id)
    paid = EarningItem.objects.filter(batch_id=batch_id).count()
    if progress.units_validated != units or paid != units * kind.replicas:
        raise RuntimeError(f"{progress.units_validated} of {units} units are validated, {paid} outputs are paid")
