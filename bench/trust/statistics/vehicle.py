"""One simulated vehicle's record: what it committed, in sequence, and what the domain's rules make of it.

Every decision is the domain's: the probability of a draw, who is young, decay, what is final, what a lost audit takes
back and where resets lead. Only the bookkeeping around them is ours: dictionaries in place of tables. All results weigh
one unit; time is `at`, an aware datetime.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from workunits.domain.audits.draws import (
    AuditRules,
    DrawRule,
    TrustWeights,
    decay,
    earns_trust,
    is_young,
    make_draw_rule,
    qualifying_weight,
)
from workunits.domain.audits.levels import VerificationLevel
from workunits.domain.audits.sequence import AuditMark, AuditState, Span, judge_loss, list_final
from workunits.domain.audits.standing import Standing, standing_after
from workunits.domain.replicas import ReplicaRole

UNIT: Final = 1.0
_EARNING: Final = tuple(role for role in ReplicaRole if earns_trust(role))
_PRIMARY: Final = ReplicaRole.PRIMARY


class Vehicle:
    """One identity: it keeps a number for each commitment, and its trust at one level.

    `final_count`, `final_wrong`: results that became final. `revoked_count`: results that were taken back.
    """

    def __init__(self, *, level: VerificationLevel, rules: AuditRules, models: int, at: datetime) -> None:
        self.level, self.rules, self.at = level, rules, at
        self.roles = bytearray()
        self.models = bytearray()
        self.rounds: list[int] = []
        self.wrong: set[int] = set()  # results that are wrong and still provisional
        self.open: set[int] = set()
        self.passed: set[int] = set()  # since what is final
        self.failed: set[int] = set()  # in lives that are not settled yet
        self.weight = 0.0
        self.model_weights = [0.0] * models
        self.folded = 0
        self.resets: list[int] = []
        self.reset_times: list[datetime] = []
        self.standing = Standing.NORMAL
        self.first_wrong: int | None = None
        self.delays: list[int] = []  # commitments from a life's first wrong one to its reset
        self.final_count = self.final_wrong = self.revoked_count = 0
        self._final: dict[int, int] = {}  # up to where each life is final, by where it began
        self._taken: dict[int, int] = {}  # after where each life that ended was taken back, by where it ended

    @property
    def committed(self) -> int:
        """The number of the last commitment."""
        return len(self.roles)

    @property
    def began(self) -> int:
        """After which commitment the present life began."""
        return self.resets[-1] if self.resets else 0

    def fold(self, at: datetime) -> None:
        """Let trust decay to `at`, and count what lies before the first open audit."""
        elapsed = (at - self.at).total_seconds()
        if elapsed > 0:
            kept = decay(1.0, elapsed, idle_seconds=elapsed, rules=self.rules)
            self.weight *= kept
            self.model_weights = [weight * kept for weight in self.model_weights]
            self.at = at
        upto = min(self.open) - 1 if self.open else len(self.roles)
        if upto <= self.folded:
            return
        if len(self.model_weights) == 1:
            gained = sum(self.roles.count(role, self.folded, upto) for role in _EARNING)
            self.model_weights[0] += gained * UNIT
        else:
            new = range(self.folded, upto)
            earning = [self.models[place] for place in new if self.roles[place] in _EARNING]
            gained = len(earning)
            for model in earning:
                self.model_weights[model] += UNIT
        self.weight += gained * UNIT
        self.folded = upto

    def rule(self, model: int = 0) -> DrawRule:
        """Return how results of a model are drawn in a report that begins now."""
        weights = TrustWeights(level=self.weight, comparison_class=self.weight, model=self.model_weights[model])
        return make_draw_rule(self.level, weights, self.rules, is_watched=self.standing is not Standing.NORMAL)

    def known_wanted(self) -> int:
        """Return how many known answers the vehicle is to be tried with."""
        missing = qualifying_weight(self.level, UNIT, self.rules) - self.weight
        return max(0, int(-(-missing // UNIT)))

    def is_young(self) -> bool:
        """Return whether an anchor would run its results again."""
        return is_young(self.rule(), UNIT)

    def commit(self, role: ReplicaRole, model: int, turn: int, *, is_wrong: bool) -> int:
        """Number a commitment and return its sequence."""
        self.roles.append(role)
        self.models.append(model)
        self.rounds.append(turn)
        sequence = len(self.roles)
        if is_wrong:
            if role == _PRIMARY:
                self.wrong.add(sequence)
            if self.first_wrong is None:
                self.first_wrong = sequence
        return sequence

    def end_audit(self, sequence: int, state: AuditState, at: datetime) -> bool:
        """Write an audit's outcome with its consequences; return whether it reset the vehicle."""
        self.open.discard(sequence)
        if state == AuditState.FAILED:
            return self._lose(sequence, at)
        if state == AuditState.PASSED:
            self.passed.add(sequence)
        self._finalise()
        return False

    def provisional(self) -> Iterator[int]:
        """Yield the results that are neither final nor taken back, the newest first."""
        bounds = [0, *self.resets, self.committed]
        for began, ended in zip(bounds[-2::-1], bounds[:0:-1], strict=True):
            after, upto = self._final.get(began, began), self._taken.get(ended, ended)
            yield from (place + 1 for place in range(upto - 1, after - 1, -1) if self.roles[place] == _PRIMARY)

    def _marks(self) -> list[AuditMark]:
        marks = [AuditMark(sequence, AuditState.PASSED) for sequence in self.passed]
        marks += [AuditMark(sequence, AuditState.FAILED) for sequence in self.failed]
        return marks + [AuditMark(sequence, AuditState.OPEN) for sequence in self.open]

    def _finalise(self) -> None:
        for span in list_final(self._marks(), self._unsettled_resets()):
            self._count_final(span)
        if not self.open:
            self.passed.clear()
            self.failed.clear()
        else:
            began = self.began
            final = self._final.get(began, 0)
            self.passed = {sequence for sequence in self.passed if not began < sequence <= final}

    def _unsettled_resets(self) -> list[int]:
        """Return the resets that lie at or behind a mark that still counts, and the one before them."""
        if not self.resets:
            return []
        first = min((*self.passed, *self.failed, *self.open), default=self.committed)
        old = sum(1 for reset in self.resets if reset < first)
        return self.resets[max(0, old - 1) :]

    def _count_final(self, span: Span) -> None:
        after = max(span.after, self._final.get(span.after, 0))
        if span.upto <= after:
            return
        self._final[span.after] = span.upto
        self.final_count += self.roles.count(_PRIMARY, after, span.upto)
        if self.wrong:
            became = {sequence for sequence in self.wrong if after < sequence <= span.upto}
            self.final_wrong += len(became)
            self.wrong -= became

    def _lose(self, sequence: int, at: datetime) -> bool:
        began = max((reset for reset in self.resets if reset < sequence), default=0)
        final = self._final.get(began, 0)
        loss = judge_loss(self._marks(), sequence, resets=self.resets, committed=self.committed, final=final)
        self.failed.add(sequence)
        self._take(loss.taken)
        if loss.ends_life:
            self._reset(at)
        self._finalise()
        return loss.ends_life

    def _take(self, span: Span) -> None:
        before = self._taken.get(span.upto, span.upto)
        self._taken[span.upto] = min(span.after, before)
        if span.after < before:
            self.revoked_count += self.roles.count(_PRIMARY, span.after, before)
        self.wrong = {s for s in self.wrong if not span.after < s <= span.upto}
        self.open = {s for s in self.open if not span.after < s <= span.upto}

    def _reset(self, at: datetime) -> None:
        if self.first_wrong is not None:
            self.delays.append(self.committed - self.first_wrong)
        self.first_wrong = None
        self.weight, self.model_weights = 0.0, [0.0] * len(self.model_weights)
        self.resets.append(self.committed)
        self.reset_times.append(at)
        self.folded = self.committed
        self.standing = standing_after(self.reset_times, at)
