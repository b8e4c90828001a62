"""The rule of units with audits: who is believed, who is blamed, what is asked for, whatever arrives first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.audits.ladder import Finding, Stage, Step
from workunits.domain.audits.rows import AuditedUnit, AuditRow, Decision, Odds
from workunits.domain.audits.verdict import is_plain, judge_audited
from workunits.domain.quorum import ReplicaView, RetryLimits

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LIMITS = RetryLimits(errors_max=3, expiries_max=4, outputs_max=7)
RIGHT, NEAR, BETWEEN, WRONG, OTHERWISE_WRONG = 0.0, 0.4, 2.0, 10.0, 20.0
ANCHOR_OWNER = 0


class Numbers:
    """Outputs as points on a line, one tolerance a unit; a replica without bytes has its point in its sketch."""

    def __init__(self, values: dict[int, float]) -> None:
        self.values = values

    def distance(self, first: ReplicaView, second: ReplicaView) -> float:
        assert first.digest is not None
        assert second.digest is not None
        return abs(self.values[first.owner_id] - self.values[second.owner_id])

    def find(self, canonical: ReplicaView, check: ReplicaView) -> Finding:
        assert canonical.digest is not None
        distance = abs(self.values[canonical.owner_id] - self.values[check.owner_id])
        if distance == 0.0:
            return Finding(Step.AGREES, Stage.DIGEST, 0.0)
        if check.digest is None:
            return Finding(Step.AGREES if distance <= 1 else Step.ASKS_BYTES, Stage.SKETCH, distance)
        return Finding(Step.AGREES if distance <= 1 else Step.DIFFERS, Stage.TENSORS, distance)


@dataclass
class World:
    """A unit and its rows, changed by decisions as the statements change them."""

    values: dict[int, float]
    state: str = "OPEN"
    needed: int = 1
    canonical: Any = None  # an owner's id, or None
    is_final: bool = False
    confirmed: int = 0
    replicas: dict[int, ReplicaView] = field(default_factory=dict)
    audits: list[AuditRow] = field(default_factory=list)
    run: str = ""
    has_failed_run: bool = False
    has_anchor: bool = True
    is_floor: bool = False
    randoms: list[float] = field(default_factory=list)

    def put(self, owner: int, state: str = "REPORTED", **fields: Any) -> None:
        view = ReplicaView(owner, state, vehicle_id=owner, sequence=owner, weight=50, comparison_class=f"class{owner}")
        if state in ("REPORTED", "VALID"):
            view = view._replace(digest=bytes([owner]))
        self.replicas[owner] = view._replace(**fields)

    def change(self, owner: int, **fields: Any) -> None:
        self.replicas[owner] = self.replicas[owner]._replace(**fields)

    @property
    def open_audit(self) -> AuditRow | None:
        return next((audit for audit in self.audits if audit.state == "open"), None)

    def look(self) -> Decision:
        """Judge until nothing is left to look at, and once more: the second time nothing may change."""
        first = self._look_once()
        while not first.is_done:
            first = self._look_once()
        before = repr(self)
        self._look_once()
        assert repr(self) == before
        return first

    def _look_once(self) -> Decision:
        settled = {audit.owner_id for audit in self.audits if audit.state in ("failed", "inconclusive")}
        unit = AuditedUnit(
            state=self.state,
            needed=self.needed,
            canonical_owner_id=self.canonical,
            is_final=self.is_final,
            replicas=list(self.replicas.values()),
            level=2,
            audit=self.open_audit,
            is_settled=self.canonical in settled,
            has_run=bool(self.run),
            has_failed_run=self.has_failed_run,
            is_floor=self.is_floor,
        )
        odds = Odds(
            now=NOW,
            random=lambda: self.randoms.pop(0) if self.randoms else 0.999,
            has_anchor=lambda: self.has_anchor,
            limits=LIMITS,
            other_class_ratio=0.25,
            delay_seconds=900.0,
            patience_seconds=14_400.0,
        )
        decision = judge_audited(unit, Numbers(self.values), odds)
        self._apply(decision)
        return decision

    def _apply(self, decision: Decision) -> None:
        for owner, state, role in decision.replicas:
            self.change(owner, state=state, role=role)
        for owner in decision.asked:
            self.change(owner, bytes_wanted=True)
        if decision.decided is not None:
            self.state, self.canonical, _ = decision.decided
        self.is_final = self.is_final or decision.is_final
        self.needed = decision.needed
        self.confirmed += decision.confirmed
        for audit in decision.audits:
            if audit.id is None:
                self.audits.append(replace(audit, id=len(self.audits) + 1))
            else:
                self.audits[audit.id - 1] = audit
        assert sum(audit.state == "open" for audit in self.audits) <= 1
        if decision.run_reason:
            assert not self.run
            self.run = decision.run_reason

    def deliver(self, owner: int) -> None:
        """Let bytes arrive that were asked for."""
        self.change(owner, state="REPORTED", digest=bytes([owner]))
        self.look()

    def run_anchor(self, value: float = RIGHT) -> None:
        self.run = ""
        self.values[ANCHOR_OWNER] = value
        self.put(ANCHOR_OWNER, "VALID", vehicle_id=0, role=1, digest=b"anchor")
        self.look()

    def states(self) -> dict[int, str]:
        return {owner: view.state for owner, view in sorted(self.replicas.items()) if owner != ANCHOR_OWNER}

    def blamed(self) -> set[int]:
        return {audit.owner_id for audit in self.audits if audit.state == "failed"}

    def outcome(self, reason: str) -> AuditRow:
        (audit,) = [audit for audit in self.audits if audit.reason == reason]
        return audit


def primary_world(value: float = RIGHT, **fields: Any) -> World:
    """Return a unit whose first output is in and looked at, by owner 1; drawn for an audit by any car."""
    world = World({1: value})
    world.put(1, **{"drawn": True, **fields})
    world.look()
    return world


def test_a_result_that_was_not_drawn_is_believed_and_nothing_else_happens():
    world = primary_world(drawn=False)
    assert (world.state, world.canonical, world.needed, world.is_final) == ("VALIDATED", 1, 0, False)
    assert (world.states(), world.audits, world.run) == ({1: "VALID"}, [], "")


def test_the_usual_result_is_judged_as_the_shortcut_for_it_says():
    for view in (ReplicaView(1, "REPORTED", digest=b"1"), ReplicaView(1, "REPORTED", digest=b"1", drawn=True)):
        world = World({1: RIGHT})
        world.put(1, drawn=view.drawn)
        decision = world.look()
        plain = (decision.replicas, decision.decided, decision.needed, decision.audits) == (
            [(1, "VALID", 0)],
            ("VALIDATED", 1, ""),
            0,
            [],
        )
        assert is_plain("OPEN", [view]) is plain
    assert not is_plain("OPEN", [ReplicaView(1, "REPORTED", role=1)])
    assert not is_plain("VALIDATED", [ReplicaView(1, "REPORTED")])
    assert not is_plain("OPEN", [ReplicaView(1, "REPORTED"), ReplicaView(2, "REVOKED")])


def test_a_drawn_result_is_believed_and_asked_for_once_more_after_a_random_while():
    world = World({1: RIGHT}, randoms=[0.25, 0.5])  # no other class, half of the delay
    world.put(1, drawn=True)
    world.look()
    audit = world.outcome("drawn")
    assert (audit.state, audit.needs, audit.vehicle_id, audit.sequence, audit.weight) == ("open", "car", 1, 1, 50)
    assert (audit.opens_at - NOW).total_seconds() == 450.0
    assert (world.state, world.needed) == ("VALIDATED", 1)


def test_a_share_of_the_audits_needs_another_class_and_the_floor_an_anchor():
    world = World({1: RIGHT}, randoms=[0.2499, 0.0])
    world.put(1, drawn=True)
    world.look()
    assert world.outcome("drawn").needs == "other_class"
    floor = World({1: RIGHT}, is_floor=True)
    floor.put(1)
    floor.look()
    assert (floor.outcome("floor").needs, floor.run, floor.needed) == ("anchor", "floor", 0)


def test_the_floor_is_left_out_while_no_anchor_is_there():
    world = World({1: RIGHT}, is_floor=True, has_anchor=False)
    world.put(1)
    world.look()
    assert (world.audits, world.run) == ([], "")


def test_a_young_vehicles_result_goes_to_an_anchor_or_where_there_is_none_to_a_car():
    world = World({1: RIGHT})
    world.put(1, drawn=True, young=True)
    world.look()
    assert (world.outcome("young").needs, world.run, world.needed) == ("anchor", "young", 0)
    small = World({1: RIGHT}, has_anchor=False)
    small.put(1, drawn=True, young=True)
    small.look()
    assert (small.outcome("young").needs, small.run, small.needed) == ("car", "", 1)


def test_an_auditor_that_agrees_passes_the_audit_and_its_own():
    world = primary_world()
    world.values[2] = NEAR
    world.put(2, "COMMITTED", role=1, sequence=7)
    world.look()
    assert world.states() == {1: "VALID", 2: "VALID"}
    assert (world.confirmed, world.needed, world.run) == (1, 0, "")
    audit, mirror = world.outcome("drawn"), world.outcome("auditing")
    assert (audit.state, audit.auditor_owner_id, audit.auditor_class, audit.stage) == ("passed", 2, "class2", "sketch")
    assert (mirror.state, mirror.vehicle_id, mirror.sequence, mirror.auditor_owner_id) == ("passed", 2, 7, 1)
    assert audit.distance == mirror.distance == NEAR


def test_doubt_asks_for_bytes_and_a_difference_goes_to_an_anchor_without_blame():
    world = primary_world()
    world.values[2] = WRONG
    world.put(2, "COMMITTED", role=1)
    world.look()
    assert world.replicas[2].bytes_wanted
    assert (world.states()[2], world.run, world.needed) == ("COMMITTED", "", 0)
    world.deliver(2)
    audit = world.outcome("drawn")
    assert (audit.state, audit.needs, audit.stage, audit.distance) == ("open", "anchor", "tensors", WRONG)
    assert (world.run, world.states()[2], world.blamed()) == ("dispute", "REPORTED", set())


@pytest.mark.parametrize(
    ("primary", "auditor", "states", "blamed"),
    [
        (RIGHT, WRONG, {1: "VALID", 2: "INVALID"}, {2}),
        (WRONG, RIGHT, {1: "VALID", 2: "VALID"}, {1}),
        (WRONG, OTHERWISE_WRONG, {1: "VALID", 2: "INVALID"}, {1, 2}),
        (RIGHT, BETWEEN, {1: "VALID", 2: "INCONCLUSIVE"}, set()),
        (BETWEEN, RIGHT, {1: "VALID", 2: "VALID"}, set()),
        (WRONG, BETWEEN, {1: "VALID", 2: "INCONCLUSIVE"}, {1}),
    ],
)
def test_the_anchor_decides_a_dispute_and_its_output_becomes_the_final_result(primary, auditor, states, blamed):
    world = primary_world(primary)
    world.values[2] = auditor
    world.put(2, role=1)
    world.look()
    assert world.run == "dispute"
    world.run_anchor()
    assert (world.states(), world.blamed()) == (states, blamed)
    assert (world.canonical, world.is_final, world.needed) == (ANCHOR_OWNER, True, 0)
    audit = world.outcome("drawn")
    assert (audit.stage, audit.auditor_owner_id, audit.distance) == ("anchor", ANCHOR_OWNER, primary)
    assert audit.drops_result is (primary == BETWEEN)


def test_the_first_of_two_outputs_that_are_wrong_alike_says_so():
    world = primary_world(WRONG, young=True)
    world.values[2] = WRONG
    world.put(2, role=1)
    world.run_anchor()
    assert world.blamed() == {1, 2}
    assert world.outcome("young").detail == "owner 2 returned the same: a runtime may be at fault"


def test_who_agreed_with_a_result_that_loses_later_loses_with_it():
    world = primary_world(WRONG)
    world.values[2] = WRONG
    world.put(2, "COMMITTED", role=1)
    world.look()
    assert world.outcome("drawn").state == "passed"
    world.values[3] = RIGHT
    world.put(3, role=2)  # a young vehicle tried with this unit is honest
    world.look()
    assert (world.run, world.states()[3]) == ("dispute", "REPORTED")
    world.run_anchor()
    assert world.blamed() == {1, 2}
    assert world.outcome("forced").state == "failed"
    assert (world.states()[3], world.outcome("known").state) == ("VALID", "passed")


@pytest.mark.parametrize(("value", "blamed"), [(WRONG, {1}), (47.0, {1}), (49.0, {1, 2})])
def test_of_whom_only_a_sketch_is_known_nothing_is_believed_that_is_not_beyond_doubt(value, blamed):
    """Its rows may all be inconclusive, or its sketch may differ in a single near tie."""
    world = primary_world(value)
    world.values[2] = value - NEAR
    world.put(2, "COMMITTED", role=1)
    world.look()
    assert world.outcome("drawn").stage == "sketch"
    world.values[3] = RIGHT
    world.put(3, role=2)
    world.look()
    world.run_anchor()
    assert world.blamed() == blamed


def test_a_known_answer_of_cars_is_never_lost_at_once_but_an_anchors_is():
    world = primary_world(drawn=False)
    world.values[3] = WRONG
    world.put(3, role=2)
    world.look()
    assert (world.blamed(), world.run) == (set(), "dispute")
    world.run_anchor()
    assert (world.blamed(), world.states()[1]) == ({3}, "VALID")
    world.values[4] = WRONG
    world.put(4, role=2)
    world.look()
    assert (world.blamed(), world.states()[4], world.run) == ({3, 4}, "INVALID", "")


def test_known_answers_pass_no_audit_of_others_and_confirm_nothing():
    world = primary_world()
    world.values[3] = RIGHT
    world.put(3, role=2)
    world.look()
    assert (world.outcome("known").state, world.outcome("drawn").state) == ("passed", "open")
    assert (world.confirmed, world.needed) == (0, 1)


def test_a_car_of_the_same_class_does_not_settle_an_audit_that_needs_another():
    world = World({1: RIGHT}, randoms=[0.1, 0.0])
    world.put(1, drawn=True)
    world.look()
    world.values[2] = RIGHT
    world.put(2, role=1, comparison_class="class1")
    world.look()
    assert (world.outcome("drawn").state, world.needed, world.states()[2]) == ("open", 1, "VALID")


@pytest.mark.parametrize("ending", ["RETURNED", "EXPIRED", "ERRORED", "CANCELLED"])
def test_an_auditor_that_ends_without_a_word_is_replaced(ending):
    world = primary_world()
    world.put(2, "LEASED", role=1)
    world.look()
    assert world.needed == 0
    world.change(2, state=ending)
    world.look()
    assert (world.needed, world.run, world.outcome("drawn").state) == (1, "", "open")


@pytest.mark.parametrize("ending", ["RETURNED", "EXPIRED", "ERRORED"])
def test_an_auditor_that_ends_instead_of_sending_its_bytes_leaves_a_doubt_for_an_anchor(ending):
    for has_anchor in (True, False):
        world = primary_world()
        world.has_anchor = has_anchor
        world.values[2] = WRONG
        world.put(2, "COMMITTED", role=1)
        world.look()
        world.change(2, state=ending)
        world.look()
        if has_anchor:
            assert (world.run, world.needed, world.outcome("drawn").needs) == ("overdue", 0, "anchor")
        else:
            assert (world.run, world.needed, world.outcome("drawn").needs) == ("", 1, "car")
        assert world.outcome("drawn").state == "open"


def test_auditors_that_keep_lapsing_send_the_audit_to_an_anchor():
    world = primary_world()
    for owner in (2, 3):
        world.put(owner, "EXPIRED", role=1, attempt=2)
        world.look()
    assert (world.run, world.outcome("drawn").needs) == ("overdue", "anchor")


def test_where_no_anchor_can_run_it_a_dispute_blames_nobody_and_drops_the_result():
    world = primary_world(WRONG)
    world.values[2] = RIGHT
    world.put(2, role=1)
    world.look()
    world.run, world.has_failed_run = "", True
    world.look()
    assert (world.blamed(), world.states()[2]) == (set(), "INCONCLUSIVE")
    audit = world.outcome("drawn")
    assert (audit.state, audit.drops_result, audit.detail) == ("inconclusive", True, "no anchor could run it")


def test_where_no_anchor_could_run_it_a_car_audits_what_was_an_anchors():
    world = primary_world(young=True)
    world.run, world.has_failed_run = "", True
    world.look()
    assert (world.outcome("young").needs, world.needed, world.run) == ("car", 1, "")


def test_a_unit_that_was_opened_again_takes_the_anchors_output_at_once():
    world = World({1: WRONG, 2: RIGHT, ANCHOR_OWNER: RIGHT})
    world.put(1, "REVOKED")
    world.put(ANCHOR_OWNER, "VALID", role=1, digest=b"anchor")
    world.put(2, "LEASED")
    world.look()
    assert (world.state, world.canonical, world.is_final, world.audits) == ("VALIDATED", ANCHOR_OWNER, True, [])
    assert world.states() == {1: "REVOKED", 2: "CANCELLED"}


def test_a_unit_that_was_opened_again_ends_its_old_audit_before_a_new_result_is_audited():
    world = primary_world()
    world.change(1, state="REVOKED")
    world.state, world.canonical, world.needed = "OPEN", None, 1
    world.values[2] = RIGHT
    world.put(2, drawn=True)
    world.look()
    assert [(audit.owner_id, audit.state) for audit in world.audits] == [(1, "void"), (2, "open")]
    assert (world.canonical, world.needed) == (2, 1)


def test_an_auditors_output_may_become_the_result_of_a_unit_that_was_opened_again_and_is_audited_itself():
    world = primary_world()
    world.values[2] = RIGHT
    world.put(2, "COMMITTED", role=1)
    world.change(1, state="REVOKED")
    world.state, world.canonical, world.needed = "OPEN", None, 1
    world.look()
    assert (world.replicas[2].bytes_wanted, world.state, world.needed) == (True, "OPEN", 1)
    world.deliver(2)
    assert (world.state, world.canonical, world.replicas[2].role) == ("VALIDATED", 2, 0)
    assert world.open_audit is not None
    assert world.open_audit.owner_id == 2


def test_a_late_second_result_is_a_check_on_the_first_and_settles_no_audit():
    world = primary_world()
    world.values[2] = NEAR
    world.put(2)
    world.look()
    assert (world.canonical, world.states(), world.replicas[2].role) == (1, {1: "VALID", 2: "VALID"}, 1)
    assert (world.outcome("drawn").state, world.outcome("auditing").state, world.needed) == ("open", "passed", 1)


def test_errors_of_cars_end_a_unit_that_has_no_result():
    world = World({})
    for owner in (1, 2, 3):
        world.put(owner, "ERRORED", reason="run_failed")
    world.look()
    assert (world.state, world.canonical, world.needed) == ("FAILED", None, 0)


def test_a_result_that_is_in_a_file_already_is_not_exchanged_but_taken_back_and_then_replaced_without_another_run():
    world = primary_world(WRONG)
    world.state = "ASSEMBLED"
    world.values[2] = RIGHT
    world.put(2, role=1)
    world.look()
    world.run_anchor()
    assert (world.state, world.canonical, world.is_final, world.blamed()) == ("ASSEMBLED", 1, False, {1})
    world.change(1, state="REVOKED")
    world.state, world.canonical, world.needed, world.confirmed = "OPEN", None, 1, 0
    world.look()
    assert (world.state, world.canonical, world.is_final, world.needed) == ("VALIDATED", ANCHOR_OWNER, True, 0)
    assert (world.confirmed, len(world.audits)) == (1, 2)


def test_a_result_that_is_an_anchors_may_be_tried_on_others_even_where_the_result_before_it_lost():
    world = primary_world(WRONG, young=True)
    world.run_anchor()
    assert (world.canonical, world.confirmed, world.blamed()) == (ANCHOR_OWNER, 1, {1})


@given(
    values=st.fixed_dictionaries({owner: st.sampled_from([RIGHT, WRONG, OTHERWISE_WRONG]) for owner in (1, 2, 3)}),
    order=st.permutations(["audit", "known", "anchor"]),
    are_inline=st.booleans(),
)
def test_the_blame_and_every_state_are_the_same_in_whatever_order_things_arrive(values, order, are_inline):
    """With an anchor's run in the end, whoever was wrong is blamed and nobody else, whatever was believed before."""
    world = World(dict(values))
    world.put(1, drawn=True)
    world.look()
    for event in order:
        if event == "anchor":
            world.run_anchor()
            continue
        owner, role = (2, 1) if event == "audit" else (3, 2)
        world.put(owner, "REPORTED" if are_inline else "COMMITTED", role=role)
        world.look()
        if world.replicas[owner].bytes_wanted:
            world.deliver(owner)
    for owner in (2, 3):
        if world.replicas[owner].bytes_wanted and world.replicas[owner].state == "COMMITTED":
            world.deliver(owner)
    wrong = {owner for owner, value in values.items() if value != RIGHT}
    assert world.blamed() == wrong
    assert (world.canonical, world.is_final, world.open_audit) == (ANCHOR_OWNER, True, None)
    assert all(view.state != "REPORTED" for view in world.replicas.values())


@given(
    value=st.floats(0, 30),
    auditors=st.lists(st.tuples(st.floats(0, 30), st.booleans(), st.sampled_from([1, 2])), max_size=4),
    anchor_at=st.integers(0, 4),
)
def test_an_honest_car_is_never_blamed_and_a_result_that_an_anchor_contradicts_never_stands(value, auditors, anchor_at):
    world = World({1: value})
    world.put(1, drawn=True)
    world.look()
    for number, (other, is_inline, role) in enumerate(auditors):
        if number == anchor_at:
            world.run_anchor()
        owner = number + 2
        world.values[owner] = other
        world.put(owner, "REPORTED" if is_inline else "COMMITTED", role=role)
        world.look()
        if world.replicas[owner].bytes_wanted and world.replicas[owner].state == "COMMITTED":
            world.deliver(owner)
    if world.run:
        world.run_anchor()
    honest = {owner for owner, at in world.values.items() if at <= 1.0}
    assert not world.blamed() & honest
    if ANCHOR_OWNER in world.replicas:
        assert world.canonical == ANCHOR_OWNER
        assert (1 in world.blamed()) is (value >= 4)
    assert {world.state} == {"VALIDATED"}
