"""What follows from audits in the order of commitment: what is final, and what a lost dispute takes back.

Audits end in any order; consequences follow the order in which the vehicle committed itself. Nothing is final while an
audit at or before it is open, and a failed one takes back all that came after the last audit that passed before it.

A **life** is what lies between two resets of a vehicle's trust. A failed audit ends the life in which its commitment
lies, together with whatever was committed until the failure was known. Others of that life may fail later still, when
a new life has begun: they take back more of the old one and leave the new one alone, for it began with no trust.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
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
    """An audit of one of a vehicle's commitments: for a level, its own that passed, and open and failed ones of all.

    A commitment without a verdict counts as open: it may have been drawn.
    """

    sequence: int
    state: str


class Span(NamedTuple):
    """Commitments of a vehicle after `after`, up to and including `upto`."""

    after: int
    upto: int


class Loss(NamedTuple):
    """What a failed audit takes back at one level.

    `ends_life`: trust is reset now, for all levels. False where the failure lies in a life that ended before.
    """

    taken: Span
    ends_life: bool


def final_upto(marks: Iterable[AuditMark], since: int = 0) -> int:
    """Return the sequence up to which a level's results are final in a life that began after `since`.

    It is `since` where none is. Marks outside of the life must not be given, except those at or before `since`.
    """
    upto = since
    for mark in sorted(marks):
        if mark.sequence <= since:
            continue
        if mark.state in (AuditState.OPEN, AuditState.FAILED):
            break
        if mark.state == AuditState.PASSED:
            upto = mark.sequence
    return upto


def revoked_after(marks: Iterable[AuditMark], failed_sequence: int, since: int = 0) -> int:
    """Return after which sequence a level's results are taken back when the vehicle lost at `failed_sequence`.

    Give as `since` the larger of the life's beginning and of what was final before: neither is ever taken back.
    """
    passed = [m.sequence for m in marks if m.state == AuditState.PASSED and m.sequence < failed_sequence]
    return max(max(passed, default=0), since)


def find_life(resets: Sequence[int], sequence: int) -> tuple[int, int | None]:
    """Return after which sequence the life of a commitment began, and with which it ended; None while it lasts.

    `resets`: the vehicle's last commitment at the time of each reset, ascending.
    """
    place = bisect_left(resets, sequence)
    began = resets[place - 1] if place else 0
    return began, resets[place] if place < len(resets) else None


def judge_loss(
    marks: Iterable[AuditMark], failed_sequence: int, *, resets: Sequence[int], committed: int, final: int = 0
) -> Loss:
    """Return what a failed audit takes back at one level, and whether it resets the vehicle.

    `committed`: the vehicle's last commitment now. `final`: up to which results of this level were declared final; a
    failure may lie before that where it is another level's, audited by force later, or where an anchor came upon it.
    """
    began, ended = find_life(resets, failed_sequence)
    upto = committed if ended is None else ended
    after = min(upto, revoked_after(marks, failed_sequence, max(began, final)))
    return Loss(taken=Span(after, upto), ends_life=ended is None)


def list_final(marks: Iterable[AuditMark], resets: Sequence[int]) -> list[Span]:
    """Return what is final at a level, life by life; nothing lies behind the first open audit of any life."""
    ordered = sorted(marks)
    spans: list[Span] = []
    for began, ended in zip([0, *resets], [*resets, None], strict=True):
        life = [m for m in ordered if m.sequence > began and (ended is None or m.sequence <= ended)]
        upto = final_upto(life, began)
        if upto > began:
            spans.append(Span(began, upto))
        if any(m.state == AuditState.OPEN for m in life):
            break
    return spans
