"""What the theorem needs, checked after every step of any history, and that every history comes to rest.

The same machine as in `test_trust_lifecycle`, with what people do on top: operators that order runs, hold back and
release cars, researchers that pause, anchors that cannot run a unit, two cars of one owner, bytes that never come.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from hypothesis import settings, strategies
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from tests.engine.factories import NOW, Car, commit, make_vehicle, rows_of
from tests.engine.test_trust_lifecycle import CARS, LIE, STAGES, TRUTH, TrustLifecycle, cars
from workunits.models import AccountBalance, AnchorRun, Audit, Batch, Revocation, VehicleStanding, VehicleTrust
from workunits.pipeline import oversight, trust
from workunits.pipeline.credit import last_release, settle_credit

# An audit that was there from the verdict on: whatever it says, it was open until then.
SINCE_THE_VERDICT = ("drawn", "young", "floor", "known")
ROUNDS_MAX = 40
OPERATOR = "operator"


class Theorem(TrustLifecycle):
    """The invariants are written from the rules of commit order alone, by rows that nothing deletes."""

    units, believed = 12, 1_500

    def make_cars(self):
        """Return cars that are believed, so that most of what they do is not audited; two of them are one owner's."""
        made = [Car() for _ in range(CARS - 1)]
        made.append(Car(make_vehicle(made[0].vehicle.owner)))
        VehicleTrust.objects.bulk_create(
            VehicleTrust(
                vehicle=car.vehicle, level=level, model_id=model_id, comparison_class=name,
                weight_microcredits=self.believed // (1 if level == 2 else 5), weighed_at=NOW, last_commit_at=NOW,
            )
            for car in made
            for level, batch in ((2, self.batches[0]), (1, self.batches[1]))
            for model_id, name in ((0, ""), (0, "cpu"), (batch.model_id, "cpu"))
        )  # fmt: skip
        return made

    @rule(index=strategies.integers(0, 1), lies=strategies.sampled_from([0.0, 0.2, 0.5]))
    def work_long(self, index, lies):
        """Let one of two busy cars tell a lie now and then, in reports of many results."""
        car = self.cars[index]
        car.sync(want=5, at=self.at)
        values = [LIE if self.luck.random() < lies else TRUTH for _ in car.held]
        car.sync(
            commitments=[commit(lease, value) for lease, value in zip(car.held.values(), values, strict=True)],
            at=self.at,
        )
        self.validate()

    @rule(index=cars, is_lie=strategies.booleans())
    def commit_without_bytes(self, index, is_lie):
        car = self.cars[index]
        leases = list(car.held.values())[:1]
        car.sync(commitments=[commit(x, LIE if is_lie else TRUTH, inline=False) for x in leases], at=self.at)

    @rule()
    def let_an_anchor_fail(self):
        run = AnchorRun.objects.filter(state="waiting").order_by("id").first()
        if run is not None:
            run.state, run.error, run.done_at = "failed", "out of memory", self.at
            run.save()

    @rule(number=strategies.integers(0, 3), which=strategies.integers(0, 1))
    def order_a_run(self, number, which):
        self.order_a_run_of(self.batches[which].id, number)

    def order_a_run_of(self, batch_id, number):
        try:
            oversight.order_anchor_run(
                batch_id=batch_id, unit_number=number, reason="looks odd", operator=OPERATOR, now=self.at
            )
        except (oversight.RunUnderWay, oversight.UnitNotRepeatable):
            return

    @rule(index=cars, is_held=strategies.booleans())
    def hold_back_or_release(self, index, is_held):
        vehicle_id = self.cars[index].vehicle.id
        if not is_held:
            trust.release_vehicle(vehicle_id=vehicle_id, reason="mended", now=self.at)
        elif not VehicleStanding.objects.filter(vehicle_id=vehicle_id, state="quarantined").exists():
            oversight.quarantine_vehicle(vehicle_id=vehicle_id, reason="odd", operator=OPERATOR, now=self.at)

    @rule(which=strategies.integers(0, 1))
    def pause_or_resume(self, which):
        batch = Batch.objects.get(id=self.batches[which].id)
        other = {"in_progress": "paused", "paused": "in_progress"}.get(batch.status)
        if other is not None:
            Batch.objects.filter(id=batch.id).update(status=other)

    def commitments(self):
        """Yield what every car committed to and was not leased again: vehicle, number, level, replica, outcome."""
        for batch, level in zip(getattr(self, "batches", ()), (2, 1), strict=False):
            outcomes = {
                (row["unit_number"], row["owner_id"]): row["outcome"]
                for row in rows_of("earning_outcome", batch_id=batch.id)
            }
            for row in rows_of("replica", batch_id=batch.id):
                if row["sequence"] is not None:
                    yield (
                        row["vehicle_id"],
                        row["sequence"],
                        level,
                        row,
                        outcomes.get((row["unit_number"], row["owner_id"])),
                    )

    @invariant()
    def nothing_is_final_at_or_behind_an_open_or_lost_audit_of_its_life(self):
        made = list(self.commitments())
        ends = {row.vehicle_id: row.life_ends for row in VehicleStanding.objects.all()}
        for audit in Audit.objects.filter(state__in=["open", "failed"], reason__in=SINCE_THE_VERDICT):
            life_end = min((end for end in ends.get(audit.vehicle_id, []) if end >= audit.sequence), default=2**62)
            for vehicle_id, sequence, _, row, outcome in made:
                if vehicle_id == audit.vehicle_id and audit.sequence <= sequence <= life_end:
                    assert outcome != "final", (audit.state, audit.reason, audit.sequence, row)

    @invariant()
    def a_lost_audit_leaves_nothing_believed_behind_the_last_passed_one_before_it(self):
        made = list(self.commitments())
        ends = {row.vehicle_id: row.life_ends for row in VehicleStanding.objects.all()}
        waiting = set(Revocation.objects.filter(done_at=None).values_list("batch_id", "unit_number", "owner_id"))
        audits = list(Audit.objects.filter(state__in=["passed", "failed"]))
        for lost in audits:
            if lost.state != "failed" or lost.reason not in SINCE_THE_VERDICT or lost.settled_at is None:
                continue
            life_end = min(end for end in ends[lost.vehicle_id] if end >= lost.sequence)
            for level in (1, 2):
                after = max(
                    (
                        a.sequence
                        for a in audits
                        if a.state == "passed"
                        and (a.vehicle_id, a.level) == (lost.vehicle_id, level)
                        and a.sequence < lost.sequence
                    ),
                    default=0,
                )
                for vehicle_id, sequence, of_level, row, outcome in made:
                    is_lost = vehicle_id == lost.vehicle_id and of_level == level and after < sequence <= life_end
                    if not is_lost or (row["batch_id"], row["unit_number"], row["owner_id"]) in waiting:
                        continue
                    assert row["state"] not in ("VALID", "COMMITTED", "REPORTED") or outcome == "final", row
                    assert outcome != "final" or sequence < lost.sequence, row

    def teardown(self):
        try:
            if hasattr(self, "batches"):
                self.come_to_rest()
        finally:
            super().teardown()

    def come_to_rest(self):
        """Let everybody be honest and everything be there; then every row and every credit has its end."""
        self.let_an_anchor_come_or_go(True)
        Batch.objects.filter(status="paused").update(status="in_progress")
        for car in self.cars:
            trust.release_vehicle(vehicle_id=car.vehicle.id, reason="mended", now=self.at)
        for run in AnchorRun.objects.filter(state="failed"):
            self.order_a_run_of(run.batch_id, run.unit_number)
        # Whoever has had a unit never gets it again, so others come.
        self.cars += [Car() for _ in range(4)]
        for _ in range(ROUNDS_MAX):
            self.let_time_pass(100_000)
            for car in self.cars:
                car.report_all(TRUTH, at=self.at, want=8)
                car.report_all(TRUTH, at=self.at)
            for name in STAGES:
                self.carry_out(name)
            if self.is_at_rest():
                break
        self.check_rest()

    def is_at_rest(self):
        batches = Batch.objects.filter(id__in=[batch.id for batch in self.batches])
        return (
            all(batch.status in ("completed", "cancelled") for batch in batches)
            and not Audit.objects.filter(state="open").exists()
            and not self.items_without_an_end()
        )

    def items_without_an_end(self):
        ended = {(row["batch_id"], row["unit_number"], row["owner_id"]) for row in rows_of("earning_outcome")}
        return [
            row
            for row in rows_of("earning_item", provisional=True)
            if (row["batch_id"], row["unit_number"], row["owner_id"]) not in ended
        ]

    def check_rest(self):
        assert [batch.status for batch in Batch.objects.order_by("id") if batch.status == "finalizing"] == []
        assert list(Audit.objects.filter(state="open").values()) == []
        assert self.items_without_an_end() == []
        assert rows_of("vehicle_commit") == []
        settle_credit(now=last_release(self.at) + timedelta(seconds=2 * django_settings.FLEET.release_seconds))
        earned: dict[int, int] = {}
        for row in rows_of("earning_outcome"):
            if row["outcome"] == "final":
                earned[row["owner_id"]] = earned.get(row["owner_id"], 0) + row["amount_microcredits"]
        held = {
            (b.account.kind, b.account.owner_id): b.balance_microcredits
            for b in AccountBalance.objects.select_related("account")
            if b.account.owner_id and b.balance_microcredits
        }
        assert held == {("owner_earned", owner_id): amount for owner_id, amount in earned.items()}


@pytest.mark.django_db
def test_what_the_theorem_needs_holds_after_every_step_and_every_history_comes_to_rest():
    run_state_machine_as_test(Theorem, settings=settings(max_examples=2, stateful_step_count=12, deadline=None))


@pytest.mark.slow
@pytest.mark.django_db
def test_the_same_holds_over_many_long_histories():
    run_state_machine_as_test(Theorem, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))
