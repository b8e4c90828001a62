"""The life of units and replicas under any order of events, with the ledger's invariants held after each step."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from django.db import transaction
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.engine.factories import NOW, Car, commit, honest_output, known, make_batch, rows_of
from workunits.domain.states import REPLICA_MOVES, UNIT_MOVES, ReplicaState, UnitState
from workunits.models import AccountBalance, Batch, BatchProgress, Transfer
from workunits.pipeline.credit import settle_credit
from workunits.pipeline.recover import cancel_batches, expire_overdue_leases
from workunits.pipeline.upload import accept_part
from workunits.pipeline.validate import validate_ready

CARS = 6
LIARS = {4, 5}  # each tells a lie of its own, so that they never make a quorum
cars = strategies.integers(0, CARS - 1)


def _reaches(moves, source, target):
    """Whether a state can be reached, through states that no step observed."""
    seen, front = {source}, [source]
    while front:
        for following in moves[front.pop()]:
            if following not in seen:
                seen.add(following)
                front.append(following)
    return target in seen


class UnitsAndReplicas(RuleBasedStateMachine):
    """Six cars of six owners, two of them liars, two batches; time passes only when a rule lets it."""

    @initialize(quorum=strategies.integers(1, 3))
    def begin(self, quorum):
        self.scope = transaction.atomic()
        self.scope.__enter__()
        self.batches = [make_batch(units=4, quorum=quorum, reward=10), make_batch(units=2, quorum=1, reward=7 * 2)]
        self.cars = [Car() for _ in range(CARS)]
        self.at = NOW
        self.last_units: dict[tuple[int, int], str] = {}
        self.last_replicas: dict[tuple[int, int, int], str] = {}

    def teardown(self):
        if hasattr(self, "scope"):
            transaction.set_rollback(True)
            self.scope.__exit__(None, None, None)

    def value_of(self, index):
        return 1.0 if index not in LIARS else 10.0 + index

    @rule(index=cars, want=strategies.integers(1, 4))
    def lease(self, index, want):
        self.cars[index].sync(want=want, at=self.at)

    @rule(index=cars, want=strategies.integers(0, 2))
    def report(self, index, want):
        self.cars[index].report_all(self.value_of(index), at=self.at, want=want)

    @rule(index=cars)
    def report_again_what_was_reported(self, index):
        car = self.cars[index]
        leases = list(car.held.values())[:1]
        for _ in range(2):
            car.sync(commitments=[commit(lease, self.value_of(index)) for lease in leases], at=self.at)

    @rule(index=cars, is_error=strategies.booleans())
    def hand_back(self, index, is_error):
        for lease in list(self.cars[index].held.values())[:1]:
            self.cars[index].hand_back(lease, is_error=is_error, reason="run_failed" if is_error else "driving")

    @rule(index=cars)
    def commit_and_upload(self, index):
        car = self.cars[index]
        for lease in list(car.held.values())[:1]:
            answer = car.sync(commitments=[commit(lease, self.value_of(index), inline=False)], at=self.at)
            if answer.outcomes[0][1] == "upload":
                data = honest_output(lease.replica.rows, self.value_of(index))
                vehicle = known(car.vehicle)
                accept_part(vehicle=vehicle, token=lease.token, offset=0, data=data, now=self.at)
                car.held.pop(lease.token, None)

    @rule(index=cars)
    def lose_everything(self, index):
        self.cars[index].held.clear()

    @rule(seconds=strategies.sampled_from([1, 400, 1000]))
    def let_time_pass(self, seconds):
        self.at += timedelta(seconds=seconds)
        expire_overdue_leases(now=self.at)

    @rule()
    def validate(self):
        validate_ready(now=self.at)

    @rule()
    def settle(self):
        settle_credit(now=self.at)

    @rule()
    def cancel_the_second_batch(self):
        Batch.objects.filter(id=self.batches[1].id, status="in_progress").update(status="cancelling")
        cancel_batches(now=self.at)

    @invariant()
    def every_move_is_an_allowed_one(self):
        if not hasattr(self, "batches"):
            return
        units, replicas = self._read()
        for key, row in units.items():
            before = UnitState(self.last_units.get(key, "OPEN"))
            assert _reaches(UNIT_MOVES, before, UnitState(row["state"])), (key, before, row["state"])
        for key, row in replicas.items():
            held = ReplicaState(self.last_replicas.get(key, "LEASED"))
            assert _reaches(REPLICA_MOVES, held, ReplicaState(row["state"])), (key, held, row["state"])
        self.last_units = {key: row["state"] for key, row in units.items()}
        self.last_replicas = {key: row["state"] for key, row in replicas.items()}

    @invariant()
    def open_units_are_asked_for_exactly_as_often_as_they_need(self):
        if not hasattr(self, "batches"):
            return
        units, replicas = self._read()
        under_review = {(row["batch_id"], row["unit_number"]) for batch in self.batches for row in self._reviews(batch)}
        for batch in self.batches:
            for key, unit in units.items():
                if key[0] != batch.id or unit["state"] != "OPEN" or key in under_review:
                    continue
                states = Counter(row["state"] for other, row in replicas.items() if other[:2] == key)
                reported = states["REPORTED"]
                target = batch.quorum if reported < batch.quorum else reported + 1
                assert unit["needed"] + states["LEASED"] + states["COMMITTED"] + reported == target

    @invariant()
    def only_the_truth_becomes_canonical_and_lies_earn_nothing(self):
        if not hasattr(self, "batches"):
            return
        units, replicas = self._read()
        liars = {self.cars[index].owner_id for index in LIARS}
        for key, unit in units.items():
            if unit["state"] == "VALIDATED" and self._quorum(key[0]) > 1:
                assert unit["canonical_owner_id"] not in liars
        items = self._items()
        valid = {key for key, row in replicas.items() if row["state"] == "VALID"}
        assert set(items) == valid
        assert not {key for key in items if key[2] in liars and self._quorum(key[0]) > 1}

    @invariant()
    def totals_follow_from_the_rows_and_the_ledger_adds_up(self):
        if not hasattr(self, "batches"):
            return
        units, _ = self._read()
        for batch in self.batches:
            counts = Counter(unit["state"] for key, unit in units.items() if key[0] == batch.id)
            progress = BatchProgress.objects.get(batch=batch)
            assert progress.units_open == counts["OPEN"]
            assert progress.units_validated == counts["VALIDATED"]
            assert progress.units_failed == counts["FAILED"]
            assert progress.units_cancelled == counts["CANCELLED"]
            settled = sum(
                item["amount_microcredits"]
                for item in rows_of("earning_item", batch_id=batch.id)
                if item["verdict_number"] <= progress.settled_verdict_number
            )
            paid = sum(Transfer.objects.filter(batch_id=batch.id).values_list("amount_microcredits", flat=True))
            assert paid == settled
        assert sum(AccountBalance.objects.values_list("balance_microcredits", flat=True)) == 0

    def _quorum(self, batch_id):
        return next(batch.quorum for batch in self.batches if batch.id == batch_id)

    def _reviews(self, batch):
        return rows_of("(SELECT batch_id, unit_number, id FROM review) AS review", batch_id=batch.id)

    def _read(self):
        units = {(row["batch_id"], row["number"]): row for batch in self.batches for row in self._of("unit", batch)}
        replicas = {
            (row["batch_id"], row["unit_number"], row["owner_id"]): row
            for batch in self.batches
            for row in self._of("replica", batch)
        }
        return units, replicas

    def _items(self):
        return {
            (row["batch_id"], row["unit_number"], row["owner_id"]): row
            for batch in self.batches
            for row in self._of("earning_item", batch)
        }

    def _of(self, table, batch):
        return rows_of(table, batch_id=batch.id)


@pytest.mark.django_db
def test_units_replicas_and_ledger_keep_their_invariants_under_any_order_of_events():
    run_state_machine_as_test(
        UnitsAndReplicas, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )


@pytest.mark.slow
@pytest.mark.django_db
def test_the_same_holds_over_many_long_histories():
    run_state_machine_as_test(
        UnitsAndReplicas, settings=settings(max_examples=300, stateful_step_count=50, deadline=None)
    )
