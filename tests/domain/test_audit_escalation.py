"""What becomes of audits that no car settles: they are handed on, wait, or take their result with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from workunits.domain.audits.escalation import Escalation, escalate
from workunits.domain.audits.rows import AuditRow
from workunits.domain.states import BatchStatus

AUDIT = AuditRow(
    id=1,
    owner_id=1,
    vehicle_id=1,
    sequence=3,
    level=2,
    weight=50,
    reason="drawn",
    needs="car",
    opens_at=datetime(2026, 3, 1, tzinfo=UTC),
)


def after(needs: str = "car", stage: str = "", **facts: object) -> Escalation | None:
    usual = {
        "batch_status": "in_progress",
        "is_overdue": True,
        "is_held": False,
        "has_anchor": True,
        "has_run": False,
        "has_failed_run": False,
    }
    return escalate(replace(AUDIT, needs=needs, stage=stage), **{**usual, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(("needs", "reason"), [("car", "overdue"), ("other_class", "class"), ("anchor", "overdue")])
def test_an_anchor_takes_over_whatever_waits(needs, reason):
    step = after(needs)
    assert step is not None
    assert (step.audit.needs, step.run_reason, step.cancels_run) == ("anchor", reason, False)
    assert step.audit.state == "open"


def test_without_an_anchor_any_car_may_run_what_needed_another_class_or_an_anchor():
    assert after("car", has_anchor=False) is None
    for needs in ("other_class", "anchor"):
        step = after(needs, has_anchor=False)
        assert step is not None
        assert (step.audit.needs, step.run_reason) == ("car", "")
        assert after(needs, has_anchor=False, batch_status="completed") == step
    waiting = after("anchor", has_anchor=False, has_run=True)
    assert waiting is not None
    assert waiting.cancels_run is True


def test_a_dispute_waits_for_an_anchor_however_long_that_takes():
    assert after("anchor", "tensors", has_run=True, has_anchor=False) is None
    step = after("anchor", "tensors", has_anchor=False)
    assert step is not None
    assert step.run_reason == "dispute"
    assert after("anchor", "tensors", has_anchor=False, batch_status="cancelled") == step


def test_a_dispute_that_no_anchor_could_run_goes_to_a_car_and_in_an_ended_batch_takes_its_result_with_it():
    step = after("anchor", "tensors", has_failed_run=True)
    assert step is not None
    assert (step.audit.needs, step.audit.state, step.run_reason) == ("car", "open", "")
    assert after("car", "tensors", has_failed_run=True) is None
    ended = after("car", "tensors", has_failed_run=True, batch_status="cancelled")
    assert ended is not None
    assert (ended.audit.state, ended.audit.drops_result) == ("void", True)


def test_a_paused_batch_is_waited_for_as_long_as_the_hold_window():
    assert after(batch_status="paused", has_anchor=False) is None
    step = after(batch_status="paused", has_anchor=False, is_held=True)
    assert step is not None
    assert (step.audit.state, step.audit.detail) == ("void", "its batch was paused")
    assert after(batch_status="in_progress", has_anchor=False, is_held=True) is None


@pytest.mark.parametrize("status", ["cancelled", "cancelling", "failed", "expired"])
def test_an_audit_of_an_ended_batch_is_void_only_together_with_its_result(status):
    step = after(batch_status=status, has_anchor=False)
    assert step is not None
    assert (step.audit.state, step.audit.drops_result) == ("void", True)
    assert after(batch_status=status, has_anchor=False, is_overdue=False) is None


def test_no_escalation_ever_ends_an_audit_and_keeps_its_result():
    for needs, stage, status, flags in product(
        ("car", "other_class", "anchor"), ("", "tensors"), BatchStatus, list(product((False, True), repeat=5))
    ):
        names = ("is_overdue", "is_held", "has_anchor", "has_run", "has_failed_run")
        step = after(needs, stage, batch_status=status.value, **dict(zip(names, flags, strict=True)))
        if step is not None and step.audit.state != "open":
            assert step.audit.drops_result
            assert status not in ("in_progress", "finalizing", "completed")
            assert status != "paused" or flags[1]
