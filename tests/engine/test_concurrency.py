"""Real threads on a real database: nothing is leased beyond its need, nobody waits for ever, nothing is paid twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import close_old_connections, connection, transaction

from tests.engine.factories import NOW, Car, make_batch, make_owner, make_vehicle, rows_of
from workunits.models import Transfer
from workunits.pipeline import drain
from workunits.pipeline.credit import settle_credit
from workunits.pipeline.dispatch import CounterReplayed, SyncConflict
from workunits.pipeline.validate import validate_ready
from workunits.store.verdicts import apply_verdicts

pytestmark = pytest.mark.django_db(transaction=True)


def run_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(index)` in `count` threads that start together; raise the first thing any of them raised."""
    barrier, problems = threading.Barrier(count), []

    def body(index: int) -> None:
        try:
            barrier.wait()
            work(index)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            problems.append(error)
        finally:
            connection.close()
            close_old_connections()

    threads = [threading.Thread(target=body, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def test_32_cars_leasing_at_once_get_each_unit_exactly_as_often_as_it_needs():
    batch = make_batch(units=40, quorum=2)
    cars = [Car() for _ in range(32)]

    def lease_until_nothing_is_left(index: int) -> None:
        empty = 0
        while empty < 3:
            empty = 0 if cars[index].lease(3) else empty + 1

    run_threads(32, lease_until_nothing_is_left)
    # A car may find nothing while others hold the rows locked; what is left then is there for the next to ask.
    while any(car.lease(3) for car in cars):
        pass
    replicas = rows_of("replica", batch_id=batch.id)
    assert Counter(row["unit_number"] for row in replicas) == dict.fromkeys(range(40), 2)
    assert max(Counter((row["unit_number"], row["owner_id"]) for row in replicas).values()) == 1
    assert {unit["needed"] for unit in rows_of("unit", batch_id=batch.id)} == {0}


def test_one_owners_eight_cars_never_hold_a_unit_twice():
    batch = make_batch(units=30, quorum=2)
    owner = make_owner()
    cars = [Car(make_vehicle(owner)) for _ in range(8)]

    def lease_some(index: int) -> None:
        for _ in range(6):
            cars[index].lease(4)

    run_threads(8, lease_some)
    replicas = rows_of("replica", batch_id=batch.id)
    assert max(Counter(row["unit_number"] for row in replicas).values()) == 1
    needed = {unit["number"]: unit["needed"] for unit in rows_of("unit", batch_id=batch.id)}
    held = {row["unit_number"] for row in replicas}
    assert needed == {number: 1 if number in held else 2 for number in range(30)}


def test_the_same_car_syncing_from_two_threads_does_everything_once():
    make_batch(units=50)
    car = Car()
    outcomes: list[str] = []

    def sync(index: int) -> None:
        twin = Car(car.vehicle)
        for step in range(10):
            twin.counter = step * 2 + index
            try:
                twin.lease(1)
                outcomes.append("leased")
            except (CounterReplayed, SyncConflict) as refusal:
                outcomes.append(refusal.code)

    run_threads(2, sync)
    assert len(outcomes) == 20
    assert len(rows_of("replica")) == outcomes.count("leased")


def test_reports_verdicts_and_settlement_at_once_pay_each_replica_once():
    batches = [make_batch(units=20, reward=10) for _ in range(3)]
    cars = [Car() for _ in range(8)]
    cheat = cars[0]
    finished: list[int] = []

    def drive(index: int) -> None:
        try:
            for _ in range(40):
                cars[index].report_all(9.0 if cars[index] is cheat else 1.0, want=4)
        finally:
            finished.append(index)

    def judge_and_pay(_: int) -> None:
        while len(finished) < len(cars):
            validate_ready(now=NOW)
            settle_credit(now=NOW)

    run_threads(len(cars) + 2, lambda index: (drive if index < len(cars) else judge_and_pay)(index))
    for _ in range(30):
        for car in cars[1:]:
            car.report_all(1.0, want=20)
        validate_ready(now=NOW)
    settle_credit(now=NOW)
    for batch in batches:
        replicas = rows_of("replica", batch_id=batch.id)
        items = rows_of("earning_item", batch_id=batch.id)
        valid = {(row["unit_number"], row["owner_id"]) for row in replicas if row["state"] == "VALID"}
        assert {(item["unit_number"], item["owner_id"]) for item in items} == valid
        assert {unit["state"] for unit in rows_of("unit", batch_id=batch.id)} == {"VALIDATED"}
        assert cheat.owner_id not in {item["owner_id"] for item in items}
    earned = sum(item["amount_microcredits"] for item in rows_of("earning_item"))
    assert sum(Transfer.objects.values_list("amount_microcredits", flat=True)) == earned


def test_a_report_that_commits_while_its_unit_is_judged_is_looked_at_afterwards(monkeypatch):
    batch = make_batch(units=1, quorum=2)
    slow, quick = Car(), Car()
    slow.lease()
    quick.lease()
    is_written, may_commit = threading.Event(), threading.Event()

    def report_slowly() -> None:
        with transaction.atomic():
            slow.report_all()
            is_written.set()
            may_commit.wait(30)
        connection.close()

    thread = threading.Thread(target=report_slowly)
    thread.start()
    assert is_written.wait(30)
    quick.report_all()  # its review has a higher id and is there before the slow one's

    def apply_late(*arguments, **options):
        may_commit.set()
        thread.join()
        return apply_verdicts(*arguments, **options)

    monkeypatch.setattr(drain, "apply_verdicts", apply_late)
    validate_ready(now=NOW)
    monkeypatch.undo()
    assert validate_ready(now=NOW) is True
    assert [unit["state"] for unit in rows_of("unit", batch_id=batch.id)] == ["VALIDATED"]
    assert rows_of("review", batch_id=batch.id) == []
