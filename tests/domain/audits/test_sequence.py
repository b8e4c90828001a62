"""What is final and what is taken back: the rules, and a vehicle that does what it likes in any order."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workunits.domain.audits.sequence import (
    AuditMark,
    AuditState,
    Loss,
    Span,
    final_upto,
    find_life,
    judge_loss,
    list_final,
    revoked_after,
)

OPEN, PASSED, FAILED = AuditState.OPEN, AuditState.PASSED, AuditState.FAILED
marks_of = st.lists(
    st.builds(AuditMark, st.integers(1, 40), st.sampled_from(list(AuditState))),
    max_size=15,
    unique_by=lambda m: m.sequence,
)


def marks(**states: AuditState) -> list[AuditMark]:
    """`marks(_5=PASSED)` is a passed audit of commitment 5."""
    return [AuditMark(int(name[1:]), state) for name, state in states.items()]


def test_results_are_final_up_to_the_last_passed_audit_before_an_open_or_failed_one():
    assert final_upto([]) == 0
    assert final_upto(marks(_3=PASSED, _9=PASSED)) == 9
    assert final_upto(marks(_3=PASSED, _5=OPEN, _9=PASSED)) == 3
    assert final_upto(marks(_3=PASSED, _5=FAILED, _9=PASSED)) == 3
    assert final_upto(marks(_2=OPEN, _3=PASSED)) == 0


def test_an_audit_without_a_verdict_neither_makes_final_nor_stands_in_the_way():
    assert final_upto(marks(_3=AuditState.INCONCLUSIVE, _5=AuditState.VOID)) == 0
    assert final_upto(marks(_3=AuditState.INCONCLUSIVE, _5=PASSED, _7=AuditState.VOID)) == 5


def test_what_an_earlier_life_lost_does_not_stand_in_the_way_of_the_next():
    assert final_upto(marks(_3=FAILED, _9=PASSED), since=6) == 9
    assert final_upto(marks(_3=FAILED, _9=OPEN), since=6) == 6


def test_a_failure_takes_back_all_after_the_last_audit_passed_before_it():
    assert revoked_after(marks(_3=PASSED, _5=PASSED, _9=PASSED), 8) == 5
    assert revoked_after(marks(_9=PASSED), 8) == 0
    assert revoked_after(marks(_3=PASSED, _9=PASSED), 8, since=4) == 4


def test_a_life_lasts_from_reset_to_reset():
    resets = [10, 25]
    assert [find_life(resets, s) for s in (1, 10, 11, 25, 26)] == [(0, 10), (0, 10), (10, 25), (10, 25), (25, None)]
    assert find_life([], 7) == (0, None)


def test_a_failure_resets_the_vehicle_and_takes_back_later_passes_too():
    lost = judge_loss(marks(_3=PASSED, _8=FAILED, _9=PASSED), 8, resets=[], committed=20)
    assert lost == Loss(taken=Span(3, 20), ends_life=True)


def test_a_second_failure_of_a_life_that_ended_takes_back_more_of_it_and_leaves_the_next_alone():
    known = marks(_5=PASSED, _10=FAILED, _15=PASSED, _20=FAILED)
    assert judge_loss(known, 10, resets=[25], committed=40) == Loss(taken=Span(5, 25), ends_life=False)
    assert judge_loss(known, 20, resets=[], committed=25) == Loss(taken=Span(15, 25), ends_life=True)


def test_a_life_that_ended_never_reaches_into_the_one_before_it():
    lost = judge_loss(marks(_5=PASSED, _12=FAILED), 12, resets=[10], committed=14)
    assert lost == Loss(taken=Span(10, 14), ends_life=True)


def test_a_result_that_was_declared_final_is_never_taken_back():
    # An anchor came upon an unaudited wrong result, long after a later audit made it final.
    assert judge_loss(marks(_9=PASSED), 4, resets=[], committed=30, final=9).taken == Span(9, 30)
    # The life ended before and nothing of it is left.
    assert judge_loss([], 4, resets=[9], committed=30, final=9).taken == Span(9, 9)


def test_nothing_is_final_behind_an_open_audit_of_any_life():
    assert list_final(marks(_5=PASSED, _20=FAILED, _30=PASSED), [25]) == [Span(0, 5), Span(25, 30)]
    assert list_final(marks(_5=PASSED, _10=OPEN, _20=FAILED, _30=PASSED), [25]) == [Span(0, 5)]
    assert list_final(marks(_5=OPEN), []) == []


@given(marks_of, st.integers(0, 40), st.randoms())
def test_the_order_in_which_audits_are_listed_does_not_matter(known, failed, rng):
    mixed = list(known)
    rng.shuffle(mixed)
    assert final_upto(mixed) == final_upto(known)
    assert revoked_after(mixed, failed) == revoked_after(known, failed)
    assert list_final(mixed, [20]) == list_final(known, [20])


@given(marks_of)
def test_nothing_is_final_that_an_open_audit_could_still_take_back(known):
    upto = final_upto(known)
    for mark in known:
        if mark.state in (OPEN, FAILED):
            assert upto <= revoked_after(known, mark.sequence)


@dataclass
class Record:
    """A vehicle's books at one level, kept with the rules: a credit is granted once, as final or as revoked."""

    wrong: list[bool] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    states: dict[int, AuditState] = field(default_factory=dict)
    resets: list[int] = field(default_factory=list)
    credit: dict[int, str] = field(default_factory=dict)
    final: dict[int, int] = field(default_factory=dict)  # by level

    @property
    def committed(self) -> int:
        return len(self.wrong)

    def commit(self, level: int, *, wrong: bool, drawn: bool) -> None:
        self.wrong.append(wrong)
        self.levels.append(level)
        if drawn:
            self.states[self.committed] = OPEN

    def marks(self, level: int) -> list[AuditMark]:
        return [
            AuditMark(sequence, state)
            for sequence, state in self.states.items()
            if state in (OPEN, FAILED) or self.levels[sequence - 1] == level
        ]

    def results(self, level: int, span: Span) -> list[int]:
        return [s for s in range(span.after + 1, span.upto + 1) if self.levels[s - 1] == level]

    def resolve(self, sequence: int) -> None:
        self.states[sequence] = FAILED if self.wrong[sequence - 1] else PASSED
        if self.wrong[sequence - 1]:
            losses = [self._lose(level, sequence) for level in sorted(set(self.levels))]
            if losses[0].ends_life:
                self.resets.append(self.committed)
        for level in set(self.levels):
            for span in list_final(self.marks(level), self.resets):
                self.final[level] = max(self.final.get(level, 0), span.upto)
                for result in self.results(level, span):
                    self._grant(result, "final")

    def _lose(self, level: int, failed: int) -> Loss:
        final = self.final.get(level, 0)
        lost = judge_loss(self.marks(level), failed, resets=self.resets, committed=self.committed, final=final)
        for result in self.results(level, lost.taken):
            self._grant(result, "revoked")
            if self.states.get(result) == OPEN:
                self.states[result] = AuditState.VOID
        return lost

    def _grant(self, result: int, outcome: str) -> None:
        assert self.credit.setdefault(result, outcome) == outcome, f"{result} is {self.credit[result]} and {outcome}"

    def open(self) -> list[int]:
        return [sequence for sequence, state in self.states.items() if state == OPEN]

    def provisional(self) -> list[int]:
        return [s for s in range(1, self.committed + 1) if s not in self.credit and s not in self.states]


class AnyVehicle(RuleBasedStateMachine):
    """Commits right and wrong results at two levels, is audited by draw and by force, and is found out in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.record = Record()
        self.seen: dict[int, str] = {}
        self.too_late: set[int] = set()

    @rule(
        results=st.lists(st.tuples(st.sampled_from([1, 3]), st.booleans(), st.booleans()), min_size=1, max_size=6),
    )
    def report(self, results):
        for level, wrong, drawn in results:
            self.record.commit(level, wrong=wrong, drawn=drawn)

    @precondition(lambda self: self.record.open())
    @rule(data=st.data())
    def end_an_audit(self, data):
        self.record.resolve(data.draw(st.sampled_from(self.record.open())))

    @precondition(lambda self: self.record.provisional())
    @rule(data=st.data())
    def force_an_audit(self, data):
        self.record.states[data.draw(st.sampled_from(self.record.provisional()))] = OPEN

    @precondition(lambda self: self.unaudited_lies())
    @rule(data=st.data())
    def be_found_out_when_it_is_final(self, data):
        lie = data.draw(st.sampled_from(self.unaudited_lies()))
        self.too_late.add(lie)
        self.record.resolve(lie)

    def unaudited_lies(self) -> list[int]:
        record = self.record
        return [
            s
            for s, credit in record.credit.items()
            if credit == "final" and record.wrong[s - 1] and s not in record.states
        ]

    @invariant()
    def what_was_granted_stays_as_it_is(self):
        assert self.seen.items() <= self.record.credit.items()
        self.seen = dict(self.record.credit)

    @invariant()
    def nothing_that_lost_its_audit_is_paid(self):
        lost = {sequence for sequence, state in self.record.states.items() if state == FAILED} - self.too_late
        assert all(self.record.credit.get(sequence) == "revoked" for sequence in lost)

    @invariant()
    def nothing_of_its_level_behind_an_open_audit_is_final(self):
        levels = self.record.levels
        finals = [sequence for sequence, outcome in self.record.credit.items() if outcome == "final"]
        for opened in self.record.open():
            assert all(s < opened for s in finals if levels[s - 1] == levels[opened - 1])

    @invariant()
    def a_final_wrong_result_was_never_drawn(self):
        for sequence, outcome in self.record.credit.items():
            is_drawn = sequence in self.record.states and sequence not in self.too_late
            assert outcome != "final" or not self.record.wrong[sequence - 1] or not is_drawn


TestAnyVehicle = AnyVehicle.TestCase
TestAnyVehicle.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)

results_of = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=25)


def play(results, order) -> Record:
    record = Record()
    for wrong, drawn in results:
        record.commit(1, wrong=wrong, drawn=drawn)
    for sequence in order:
        if record.states.get(sequence) == OPEN:
            record.resolve(sequence)
    return record


def outcomes(record: Record, wanted: str) -> set[int]:
    return {sequence for sequence, outcome in record.credit.items() if outcome == wanted}


@given(results_of, st.randoms())
def test_whatever_the_order_in_which_audits_end_no_more_is_final_than_in_sequence_and_no_less_taken_back(results, rng):
    drawn = [place + 1 for place, (_, is_drawn) in enumerate(results) if is_drawn]
    mixed = list(drawn)
    rng.shuffle(mixed)
    in_sequence, as_they_came = play(results, drawn), play(results, mixed)
    assert outcomes(as_they_came, "final") <= outcomes(in_sequence, "final")
    assert outcomes(as_they_came, "revoked") >= outcomes(in_sequence, "revoked")
    # One life ends once, however many of its results are found out.
    assert as_they_came.resets == in_sequence.resets
    assert len(in_sequence.resets) == any(is_wrong and is_drawn for is_wrong, is_drawn in results)


@given(results_of, st.randoms())
def test_an_honest_vehicle_gets_the_same_in_any_order(results, rng):
    honest = [(False, is_drawn) for _, is_drawn in results]
    drawn = [place + 1 for place, (_, is_drawn) in enumerate(results) if is_drawn]
    mixed = list(drawn)
    rng.shuffle(mixed)
    assert (
        play(honest, mixed).credit
        == play(honest, drawn).credit
        == dict.fromkeys(range(1, max(drawn, default=0) + 1), "final")
    )
