"""The functions that a sync calls, one for each lane, made from statements' files: what they lock, and their plans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from tests.engine.factories import NOW, Car, make_batch, rows_of
from workunits.models import Batch
from workunits.pipeline.validate import validate_ready
from workunits.sql import LANES, load_function
from workunits.store import leases as leases_store
from workunits.store.db import call_function

pytestmark = pytest.mark.django_db


def body_of(command: str) -> str:
    return command.split("$function$")[1]


def batches_of_two_lanes() -> tuple[Batch, Batch]:
    first = make_batch(units=3)
    while True:
        second = make_batch(units=3)
        if second.lane != first.lane:
            return first, second


@contextmanager
def called_functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    names: list[str] = []

    def note(name, parameters):
        names.append(name)
        return call_function(name, parameters)

    monkeypatch.setattr(leases_store, "call_function", note)
    yield names


def test_the_database_has_the_functions_of_the_files():
    # Where this fails after a change of a file, the change needs a migration that creates the functions again.
    wanted = {"sync_vehicle": body_of(load_function("sync_vehicle"))}
    wanted |= {f"sync_vehicle_{lane}": body_of(load_function("sync_vehicle", lane=lane)) for lane in range(LANES)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT proname, prosrc FROM pg_proc WHERE starts_with(proname, 'sync_vehicle')")
        assert dict(cursor.fetchall()) == wanted


def test_a_sync_of_one_lane_locks_no_table_of_another(monkeypatch):
    batch = make_batch(units=20)
    car = Car()
    car.lease(5)
    with called_functions(monkeypatch) as names, connection.cursor() as cursor:
        car.report_all(want=5)
        cursor.execute(
            "SELECT DISTINCT relname FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
            " WHERE pid = pg_backend_pid() AND relname ~ '^(unit|replica|review|unit_event)_[0-9]+$'"
            " AND mode = 'RowExclusiveLock'"
        )
        written = {name for (name,) in cursor.fetchall()}
    assert names == [f"sync_vehicle_{batch.lane}"]
    # The locks of this test's own set-up are those of the same lane.
    assert written == {f"{table}_{batch.lane}" for table in ("unit", "replica", "review", "unit_event")}


def test_a_sync_that_speaks_of_two_lanes_reports_into_one_and_leases_from_the_other(monkeypatch):
    first, second = batches_of_two_lanes()
    Batch.objects.exclude(id=first.id).update(status="paused")
    car = Car()
    car.lease(3)
    Batch.objects.filter(id=first.id).update(status="paused")
    Batch.objects.filter(id=second.id).update(status="in_progress")
    with called_functions(monkeypatch) as names:
        answer = car.report_all(want=2)
    assert names == ["sync_vehicle"]
    assert [code for _, code in answer.outcomes] == ["stored"] * 3
    assert {replica["state"] for replica in rows_of("replica", batch_id=first.id)} == {"REPORTED"}
    assert [replica["state"] for replica in rows_of("replica", batch_id=second.id)] == ["LEASED"] * 2


def test_plans_go_by_key_even_where_the_planner_believes_the_tables_empty():
    batch = make_batch(units=500)
    with connection.cursor() as cursor:
        # As after VACUUM of an empty lane; ANALYZE would do it beyond this test's transaction.
        cursor.execute(
            "UPDATE pg_class SET relpages = 0, reltuples = 0 WHERE relname ~ '^(replica|review)_[0-9]+(_pkey)?$'"
        )
        cursor.execute("LOAD 'auto_explain'")
        for setting in ("log_min_duration = 0", "log_nested_statements = on", "log_analyze = off"):
            cursor.execute(f"SET LOCAL auto_explain.{setting}")
        car = Car()
        car.lease(5)
        cursor.execute("SET LOCAL client_min_messages = log")
        notices = connection.connection.notices
        del notices[:]
        car.report_all(want=5)
        cursor.execute("SET LOCAL client_min_messages = notice")
    plans = [notice for notice in notices if "WITH guard" in notice or "WITH urgent" in notice]
    assert len(plans) == 2
    assert f"Index Scan using replica_{batch.lane}_pkey on replica_{batch.lane}" in plans[0]
    assert not [plan for plan in plans if "Seq Scan" in plan or "Hash" in plan]


def test_verdicts_are_written_by_key_even_where_the_planner_believes_the_tables_empty():
    batch = make_batch(units=500)
    cars = [Car(), Car()]
    for car in cars:
        car.lease(5)
        car.report_all()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_class SET relpages = 0, reltuples = 0"
            " WHERE relname ~ '^(unit|replica|review)_[0-9]+(_pkey)?$' OR relname ~ '^audit'"
        )
        cursor.execute("DISCARD PLANS")
        cursor.execute("LOAD 'auto_explain'")
        for setting in ("log_min_duration = 0", "log_nested_statements = on", "log_analyze = off"):
            cursor.execute(f"SET LOCAL auto_explain.{setting}")
        cursor.execute("SET LOCAL client_min_messages = log")
        notices = connection.connection.notices
        del notices[:]
        validate_ready(now=NOW)
        cursor.execute("SET LOCAL client_min_messages = notice")
    (plan,) = [
        notice for notice in notices if "WITH judged" in notice and "Function Scan on apply_verdicts" not in notice
    ]
    assert "Seq Scan" not in plan
    tables = [f"{table}_{batch.lane}" for table in ("unit", "replica", "review")]
    scanned = re.findall(rf"using \w+ on ({'|'.join(tables)}) .*\n\s*Index Cond: (.*)", plan)
    assert {table for table, _ in scanned} == set(tables)
    assert [condition for _, condition in scanned if "ANY" not in condition] == []
    assert {replica["state"] for replica in rows_of("replica")} == {"VALID"}
