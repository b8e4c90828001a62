"""What a vehicle has been believed, folded from its commitments in the order in which it made them.

A commitment adds its weight once it and all before it have their verdict and no audit of them is open: an audit that is
still open may end the life in which they lie. What lies in a life that has ended adds nothing. Folding in several steps
gives what folding at once gives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from workunits.domain.audits.draws import AuditRules, decay, earns_trust, qualifying_weight
from workunits.domain.audits.levels import AUDIT_FACTOR, LEVEL_NUMBER
from workunits.domain.audits.sequence import AuditMark, AuditState, Span, judge_loss, list_final

_LEVEL_OF: Final = {LEVEL_NUMBER[level]: level for level in AUDIT_FACTOR}


class CommitState(StrEnum):
    """What became of a commitment."""

    OPEN = "open"  # no verdict yet, an open audit, or a failed one whose consequences are still to come
    VALID = "valid"  # believed
    ENDED = "ended"  # no result: handed back, lapsed, wrong, or taken back


class Commit(NamedTuple):
    """A numbered commitment. `committed_at` in unix seconds; `weight` in microcredits."""

    sequence: int
    level: int
    role: int
    model_id: int
    comparison_class: str
    weight: int
    committed_at: float
    state: str


class Scope(NamedTuple):
    """What a weight is counted for: a level, a comparison class in it, or a model in that class."""

    level: int
    model_id: int = 0
    comparison_class: str = ""


class Weighed(NamedTuple):
    """A weight as it was at `weighed_at`, and when the scope's last commitment was made; unix seconds."""

    weight: float
    weighed_at: float
    last_commit_at: float


class LevelMark(NamedTuple):
    """An audit of a commitment at a level."""

    level: int
    sequence: int
    state: str


@dataclass(kw_only=True, slots=True)
class Folded:
    """The outcome of a fold. `upto`: the last commitment that was folded; `weights`: those that changed.

    `ended`: commitments without a result, of which nothing needs to be remembered. `qualified`: by level, what the
    vehicle was believed just before and after it needed no anchor any more for results like its last, and which.
    """

    upto: int
    weights: dict[Scope, Weighed] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    qualified: dict[int, tuple[int, int, int]] = field(default_factory=dict)


def fold_commits(
    commits: Sequence[Commit], weights: Mapping[Scope, Weighed], *, folded: int, began: int, rules: AuditRules
) -> Folded:
    """Fold commitments behind `folded`, given in sequence, into a vehicle's weights.

    `began`: after which commitment its present life began.
    """
    result = Folded(upto=folded)
    for commit in commits:
        if commit.state == CommitState.OPEN:
            break
        result.upto = commit.sequence
        if commit.state == CommitState.ENDED:
            result.ended.append(commit.sequence)
        if commit.sequence > began:
            _add(result, commit, weights, rules)
    return result


def _add(result: Folded, commit: Commit, weights: Mapping[Scope, Weighed], rules: AuditRules) -> None:
    gained = commit.weight if commit.state == CommitState.VALID and earns_trust(commit.role) else 0
    level_scope = Scope(commit.level)
    # Without a class, two of them are one scope, which counts a weight once.
    for scope in {
        level_scope: None,
        Scope(commit.level, comparison_class=commit.comparison_class): None,
        Scope(commit.level, commit.model_id, commit.comparison_class): None,
    }:
        before = result.weights.get(scope) or weights.get(scope)
        if before is None and not gained:
            continue  # a car may state ever new classes, and every request reads what is kept of them
        at = commit.committed_at
        kept = 0.0
        if before is not None:
            at = max(at, before.weighed_at)
            idle_seconds = commit.committed_at - before.last_commit_at
            kept = decay(before.weight, at - before.weighed_at, idle_seconds=idle_seconds, rules=rules)
        result.weights[scope] = Weighed(kept + gained, at, commit.committed_at)
        if scope == level_scope:
            wanted = qualifying_weight(_LEVEL_OF[commit.level], commit.weight, rules)
            if kept < wanted <= kept + gained:
                result.qualified[commit.level] = (int(kept), int(kept + gained), commit.sequence)


def find_finals(
    marks: Iterable[LevelMark], levels: Collection[int], *, resets: Sequence[int], folded: int
) -> dict[int, int]:
    """Return up to which commitment results are final, for each level where there are any.

    `folded`: the last commitment before which all have their verdict; what lies behind it counts as open.
    """
    known = list(marks)
    return {
        level: spans[-1].upto
        for level in levels
        if (spans := list_final([*_marks_of(known, level), AuditMark(folded + 1, AuditState.OPEN)], resets))
    }


def _marks_of(marks: Iterable[LevelMark], level: int) -> list[AuditMark]:
    return [
        AuditMark(mark.sequence, mark.state)
        for mark in marks
        if mark.level == level or mark.state in (AuditState.OPEN, AuditState.FAILED)
    ]


class TakenSpan(NamedTuple):
    """Commitments of a level that a failed audit takes back."""

    audit_id: int
    level: int
    span: Span


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """What a vehicle's failed audits take back, and whether they end its present life."""

    taken: list[TakenSpan]
    ends_life: bool


def judge_losses(
    failures: Sequence[tuple[int, int]],
    marks: Iterable[LevelMark],
    finals: Mapping[int, int],
    *,
    resets: Sequence[int],
    committed: int,
) -> Losses:
    """Return what failed audits (sequence and id) of one vehicle take back at every level, in commit order.

    `finals`: up to which commitment each level was declared final. The first failure of the present life ends it, so
    the others of that life lie in an ended one.
    """
    known, ended_lives, taken, ends_life = list(marks), list(resets), [], False
    for sequence, audit_id in sorted(failures):
        is_last = False
        for level in _LEVEL_OF:
            loss = judge_loss(
                _marks_of(known, level),
                sequence,
                resets=ended_lives,
                committed=committed,
                final=finals.get(level, 0),
            )
            is_last = loss.ends_life
            if loss.taken.after < loss.taken.upto:
                taken.append(TakenSpan(audit_id, level, loss.taken))
        if is_last:
            ended_lives.append(committed)
            ends_life = True
    return Losses(taken=taken, ends_life=ends_life)
