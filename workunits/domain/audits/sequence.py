"""What follows from audits in the order of commitment: what is final, and what a lost dispute takes back.

Audits end in any order; consequences follow the order in which the vehicle committed itself. Nothing is final while an
audit at or before it is open, and a failed one takes back all that came after the last audit that passed before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class AuditState(StrEnum):
    """The life of an audit."""

    OPEN = "open"  # validate, forced or by draw; a car or an anchor is to run the unit again
    PASSED = "passed"  # resolve: the outputs agree, or an anchor sided with the audited one
    FAILED = "failed"  # resolve: an anchor sided against the audited one
    INCONCLUSIVE = "inconclusive"  # resolve: between; nobody is blamed, and the anchor's output is used
    VOID = "void"  # the unit was cancelled, or the result was revoked for another reason


class AuditMark(NamedTuple):
    """An audit of one of a vehicle's results at one level."""

    sequence: int
    state: str


def final_upto(marks: Iterable[AuditMark]) -> int:
    """Return the sequence up to which a level's results are final; 0 where none is."""
    ordered = sorted(marks)
    upto = 0
    for mark in ordered:
        if mark.state in (AuditState.OPEN, AuditState.FAILED):
            break
        if mark.state == AuditState.PASSED:
            upto = mark.sequence
    return upto


def revoked_after(marks: Iterable[AuditMark], failed_sequence: int) -> int:
    """Return after which sequence a level's results are taken back when the vehicle lost at `failed_sequence`."""
    passed = [m.sequence for m in marks if m.state == AuditState.PASSED and m.sequence < failed_sequence]
    return max(passed, default=0)
