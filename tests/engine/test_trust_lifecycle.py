"""Batches with audits under any order of events, over the production pipeline: nothing that is taken back stays.

Cars that tell the truth or lie at any moment, anchors that come and go, audits, resets, files and money. All draws come
from one seed, so that a history can be told again.
"""

from __future__ import annotations

import io
import random
from collections import Counter
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from django.db import connection, transaction
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.engine.audit_rows import finish_run, make_audited_batch
from tests.engine.factories import NOW, Car, rows_of
from workunits.models import (
    AccountBalance,
    AnchorMachine,
    AnchorRun,
    Audit,
    Batch,
    BatchProgress,
    Revocation,
    Unit,
    VehicleTrust,
)
from workunits.pipeline import assemble, credit, dispatch, drain, draws, recover, resolve, revoke, trust, validate
from workunits.store.blobs import get_blob_store

CARS, UNITS, ROWS = 5, 4, 2
TRUTH, LIE = 1.0, 9.0
cars = strategies.integers(0, CARS - 1)
STAGES = (
    "validate", "run_anchors", "escalate_and_force", "settle_failures", "apply_revocations", "fold", "pay", "assemble",
)  # fmt: skip


def number_as_before():
    """Give each history the same numbers: which batch a car is offered first follows from them.

    Far from those of other tests, for processes remember what never changes of a batch.
    """
    with connection.cursor() as cursor:
        for table in ("batch", "model", "vehicle", "owner"):
            cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table])
            cursor.execute(f"ALTER SEQUENCE {cursor.fetchone()[0]} RESTART WITH 1000001")


class TrustLifecycle(RuleBasedStateMachine):
    """Five cars of five owners and two batches; time passes only when a rule lets it."""

    units, believed = UNITS, 0

    @initialize(
        seed=strategies.integers(0, 2**32),
        finality=strategies.sampled_from(["final", "provisional"]),
        may_cancel=strategies.sampled_from([False, False, True]),
        has_anchor=strategies.booleans(),
    )
    def begin(self, seed, finality, may_cancel, has_anchor):
        self.scope = transaction.atomic()
        self.scope.__enter__()
        self.patch = pytest.MonkeyPatch()
        number_as_before()
        luck = self.luck = random.Random(seed)
        self.patch.setattr(draws, "_random", luck)
        self.patch.setattr(dispatch, "_shuffle", luck.shuffle)
        for stage in (drain, trust):
            self.patch.setattr(stage, "_random", luck.random)
        self.batches = [
            make_audited_batch("standard", units=self.units, reward=10),
            make_audited_batch("economy", units=self.units, reward=10),
        ]
        Batch.objects.filter(id=self.batches[1].id).update(finality=finality)
        self.cars = self.make_cars()
        self.at, self.may_cancel = NOW, may_cancel
        self.let_an_anchor_come_or_go(has_anchor)
        for index in range(3):
            self.work(index, is_lie=index == luck.randrange(4))

    def make_cars(self):
        return [Car() for _ in range(CARS)]

    def teardown(self):
        if hasattr(self, "scope"):
            self.patch.undo()
            transaction.set_rollback(True)
            self.scope.__exit__(None, None, None)

    @rule(index=cars)
    def hold_leases(self, index):
        self.cars[index].sync(want=2, at=self.at)

    @rule(index=cars, is_lie=strategies.sampled_from([False, False, True]))
    def work(self, index, is_lie):
        self.cars[index].sync(want=3, at=self.at)
        self.cars[index].report_all(LIE if is_lie else TRUTH, at=self.at)

    @rule(index=cars)
    def hand_back(self, index):
        for lease in list(self.cars[index].held.values())[:1]:
            self.cars[index].hand_back(lease)

    @rule(seconds=strategies.sampled_from([20, 1000, 20_000, 300_000]))
    def let_time_pass(self, seconds):
        self.at += timedelta(seconds=seconds)
        recover.expire_overdue_leases(now=self.at)

    @rule(is_alive=strategies.booleans())
    def let_an_anchor_come_or_go(self, is_alive):
        AnchorMachine.objects.all().delete()
        if is_alive:
            AnchorMachine.objects.create(name="anchor", seen_at=self.at + timedelta(days=365))

    @rule()
    def cancel_the_second_batch(self):
        if self.may_cancel:
            Batch.objects.filter(id=self.batches[1].id, status="in_progress").update(status="cancelling")
            recover.cancel_batches(now=self.at)

    @rule(name=strategies.sampled_from([*STAGES]))
    def carry_out(self, name):
        getattr(self, name)()

    @rule(index=cars)
    def let_everything_be_done(self, index):
        """Let a car tell the truth until nothing is left for it, with all stages in order in between."""
        for _ in range(3):
            self.at += timedelta(seconds=1000)
            self.cars[index].report_all(TRUTH, at=self.at, want=8)
            for name in STAGES:
                self.carry_out(name)

    def validate(self):
        validate.validate_ready(now=self.at)

    def run_anchors(self):
        for run in AnchorRun.objects.filter(state="waiting"):
            finish_run(next(b for b in self.batches if b.id == run.batch_id), TRUTH, unit=run.unit_number)
        resolve.resolve_anchor_runs(now=self.at)

    def escalate_and_force(self):
        resolve.escalate_audits(now=self.at)
        trust.force_audits(now=self.at)

    def settle_failures(self):
        revoke.settle_failures(now=self.at)

    def apply_revocations(self):
        revoke.apply_revocations(now=self.at)

    def fold(self):
        trust.fold_trust(now=self.at)

    def pay(self):
        credit.settle_credit(now=self.at)

    def assemble(self):
        for batch_id in recover.find_leftovers(now=self.at).to_assemble:
            assemble.assemble_batch(batch_id=batch_id, now=self.at)

    @invariant()
    def a_result_stands_on_a_replica_that_is_believed(self):
        for batch in getattr(self, "batches", ()):
            replicas = {(row["unit_number"], row["owner_id"]): row for row in rows_of("replica", batch_id=batch.id)}
            for unit in rows_of("unit", batch_id=batch.id):
                if unit["canonical_owner_id"] is not None:
                    assert replicas[unit["number"], unit["canonical_owner_id"]]["state"] == "VALID"
                else:
                    assert unit["final_at"] is None

    @invariant()
    def what_was_taken_back_earns_nothing(self):
        for batch in getattr(self, "batches", ()):
            replicas = {(row["unit_number"], row["owner_id"]): row for row in rows_of("replica", batch_id=batch.id)}
            outcomes = {
                (row["unit_number"], row["owner_id"]): row["outcome"]
                for row in rows_of("earning_outcome", batch_id=batch.id)
            }
            items = {(row["unit_number"], row["owner_id"]) for row in rows_of("earning_item", batch_id=batch.id)}
            assert set(outcomes) <= items
            # What is final is never taken back for what became of another result; an anchor may come upon it itself.
            for key in items:
                if replicas[key]["state"] != "REVOKED":
                    assert outcomes.get(key) != "revoked"
                elif outcomes.get(key) != "revoked":
                    assert outcomes[key] == "final"
                    assert Audit.objects.filter(
                        batch=batch, unit_number=key[0], owner_id=key[1], state__in=["failed", "inconclusive"]
                    ).exists()
            assert items == {
                key for key, row in replicas.items() if row["state"] in ("VALID", "REVOKED") and row["owner_id"] > 0
            }

    @invariant()
    def totals_follow_from_the_rows(self):
        for batch in getattr(self, "batches", ()):
            units = rows_of("unit", batch_id=batch.id)
            states = Counter(unit["state"] for unit in units)
            validated = states["VALIDATED"] + states["ASSEMBLED"]
            final = sum(unit["final_at"] is not None for unit in units)
            progress = BatchProgress.objects.get(batch=batch)
            assert (progress.units_open, progress.units_validated, progress.units_final) == (
                states["OPEN"], validated, final,
            )  # fmt: skip
            assert (progress.units_cancelled, progress.units_failed) == (states["CANCELLED"], states["FAILED"])
            assert (progress.rows_validated, progress.rows_final) == (validated * ROWS, final * ROWS)

    @invariant()
    def nobody_is_believed_for_more_than_his_results_that_stand(self):
        if not hasattr(self, "batches"):
            return
        for row in VehicleTrust.objects.filter(model_id=0, comparison_class=""):
            level = {1: self.batches[1], 2: self.batches[0]}[row.level]
            stands = [
                replica
                for replica in rows_of("replica", batch_id=level.id, vehicle_id=row.vehicle_id)
                if replica["state"] in ("VALID", "REVOKED") and replica["role"] != 1
            ]
            assert row.weight_microcredits <= self.believed + 10 * len(stands)

    @invariant()
    def nothing_is_final_behind_an_open_audit(self):
        if not hasattr(self, "batches"):
            return
        for audit in Audit.objects.filter(state="open"):
            if Revocation.objects.filter(batch_id=audit.batch_id, unit_number=audit.unit_number).exists():
                continue
            row = VehicleTrust.objects.filter(
                vehicle_id=audit.vehicle_id, level=audit.level, model_id=0, comparison_class=""
            ).first()
            assert row is None or row.final_sequence < audit.sequence

    @invariant()
    def a_finished_file_has_every_row_once_and_is_what_the_units_say(self):
        for batch in getattr(self, "batches", ()):
            fresh = Batch.objects.get(id=batch.id)
            if fresh.status != "completed":
                continue
            table = pq.read_table(io.BytesIO(get_blob_store().read(fresh.result_parquet)))
            assert table["row"].to_pylist() == list(range(self.units * ROWS))
            if fresh.finality == "final":
                assert not Unit.objects.filter(
                    batch=batch, state__in=["VALIDATED", "ASSEMBLED"], final_at__isnull=True
                ).exists()

    @invariant()
    def the_ledger_adds_up_and_nobody_has_what_is_not_final(self):
        if not hasattr(self, "batches"):
            return
        final: Counter[int] = Counter()
        for batch in self.batches:
            for row in rows_of("earning_outcome", batch_id=batch.id):
                final[row["owner_id"]] += row["amount_microcredits"] * (row["outcome"] == "final")
        balances = list(AccountBalance.objects.select_related("account"))
        assert sum(balance.balance_microcredits for balance in balances) == 0
        for balance in balances:
            if balance.account.kind == "owner_earned":
                assert 0 <= balance.balance_microcredits <= final[balance.account.owner_id or 0]
            elif balance.account.kind == "owner_provisional":
                assert balance.balance_microcredits >= 0


@pytest.mark.django_db
def test_nothing_that_was_taken_back_stays_under_any_order_of_events():
    run_state_machine_as_test(TrustLifecycle, settings=settings(max_examples=8, stateful_step_count=15, deadline=None))


@pytest.mark.slow
@pytest.mark.django_db
def test_the_same_holds_over_many_long_histories():
    run_state_machine_as_test(TrustLifecycle, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
