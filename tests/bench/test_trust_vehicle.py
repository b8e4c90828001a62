"""The statistics' vehicle keeps books of its own, for speed: whatever happens, they say what the engine's fold says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.trust.statistics.scenarios import RULES
from bench.trust.statistics.vehicle import Vehicle
from workunits.domain.audits.fold import (
    Commit,
    CommitState,
    LevelMark,
    Scope,
    Weighed,
    find_finals,
    fold_commits,
    judge_losses,
)
from workunits.domain.audits.levels import LEVEL_NUMBER, VerificationLevel
from workunits.domain.audits.sequence import AuditState
from workunits.domain.replicas import ReplicaRole

LEVEL = LEVEL_NUMBER[VerificationLevel.STANDARD]
AT = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = 2

# A commitment (role, model, whether it is wrong, whether it is audited), or the end of an open audit (which, how).
commitments = st.tuples(st.sampled_from(ReplicaRole), st.integers(0, MODELS - 1), st.booleans(), st.booleans())
endings = st.tuples(
    st.integers(0, 9),
    st.sampled_from([AuditState.PASSED, AuditState.PASSED, AuditState.FAILED, AuditState.INCONCLUSIVE]),
)


@dataclass
class Engine:
    """The same vehicle as the engine's tables would hold it."""

    commits: list[Commit] = field(default_factory=list)
    marks: dict[int, LevelMark] = field(default_factory=dict)
    weights: dict[Scope, Weighed] = field(default_factory=dict)
    resets: list[int] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)
    final: set[int] = field(default_factory=set)
    folded: int = 0
    final_upto: int = 0

    def end(self, sequence: int, state: AuditState) -> None:
        self.marks[sequence] = LevelMark(LEVEL, sequence, state)
        if state == AuditState.FAILED:
            losses = judge_losses(
                [(sequence, sequence)],
                self.marks.values(),
                {LEVEL: self.final_upto},
                resets=self.resets,
                committed=len(self.commits),
            )
            for loss in losses.taken:
                if loss.level == LEVEL:
                    self._take(range(loss.span.after + 1, loss.span.upto + 1))
            if losses.ends_life:
                self.resets.append(len(self.commits))
                self.weights = {}
        self.settle()

    def _take(self, sequences: range) -> None:
        for sequence in sequences:
            self.taken.add(sequence)
            mark = self.marks.get(sequence)
            if mark is not None and mark.state == AuditState.OPEN:
                self.marks[sequence] = mark._replace(state=AuditState.VOID)

    def settle(self) -> None:
        states = {s: CommitState.OPEN for s, mark in self.marks.items() if mark.state == AuditState.OPEN}
        states |= dict.fromkeys(self.taken, CommitState.ENDED)
        began = self.resets[-1] if self.resets else 0
        seen = [c._replace(state=states.get(c.sequence, CommitState.VALID)) for c in self.commits[self.folded :]]
        folded = fold_commits(seen, self.weights, folded=self.folded, began=began, rules=RULES)
        self.weights |= folded.weights
        self.folded = folded.upto
        found = find_finals(self.marks.values(), {LEVEL}, resets=self.resets, folded=self.folded)
        self.final_upto = max(self.final_upto, found.get(LEVEL, 0))
        results = {c.sequence for c in self.commits if c.role == ReplicaRole.PRIMARY}
        self.final |= {s for s in results - self.taken if s <= self.final_upto}

    def weight(self, scope: Scope) -> float:
        return self.weights.get(scope, Weighed(0.0, 0.0, 0.0)).weight


@given(st.lists(st.one_of(commitments, endings), max_size=40))
def test_a_simulated_vehicle_has_the_trust_and_the_final_results_that_the_engine_gives_it(events):
    vehicle = Vehicle(level=VerificationLevel.STANDARD, rules=RULES, models=MODELS, at=AT)
    engine = Engine()
    for event in events:
        if len(event) == 2:
            place, state = event
            if vehicle.open:
                sequence = sorted(vehicle.open)[place % len(vehicle.open)]
                vehicle.end_audit(sequence, state, AT)
                engine.end(sequence, state)
        else:
            role, model, is_wrong, is_audited = event
            sequence = vehicle.commit(role, model, 0, is_wrong=is_wrong)
            engine.commits.append(Commit(sequence, LEVEL, role, model + 1, "x86", 1, 0.0, CommitState.VALID))
            if is_audited:
                vehicle.open.add(sequence)
                engine.marks[sequence] = LevelMark(LEVEL, sequence, AuditState.OPEN)
        vehicle.fold(AT)
        engine.settle()
        assert vehicle.weight == pytest.approx(engine.weight(Scope(LEVEL)))
        for model, weight in enumerate(vehicle.model_weights):
            assert weight == pytest.approx(engine.weight(Scope(LEVEL, model + 1, "x86")))
        assert vehicle.open == {s for s, mark in engine.marks.items() if mark.state == AuditState.OPEN}
        assert vehicle.final_count == len(engine.final)
        results = {c.sequence for c in engine.commits if c.role == ReplicaRole.PRIMARY}
        assert vehicle.revoked_count == len(results & engine.taken)
