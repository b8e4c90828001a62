"""The journal: guarded moves, restarts, and a property test against a plain dictionary."""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fleetclient.journal import Journal
from fleetclient.units import Result, UnitState
from fleetclient.wire import HandBack, Lease
from tests.client.support import contract_of, linear_model

CONTRACT = contract_of(linear_model())
RESULT = Result(digest="ab" * 32, output_bytes=123, cpu_seconds=1.5)
TOKENS = [f"{index:022d}" for index in range(5)]


def lease(token: str) -> Lease:
    return Lease(
        token=token,
        contract=CONTRACT,
        salt="00" * 16,
        rows=10,
        input_sha256="cd" * 32,
        input_range=(6, 700),
        input_digest="ef" * 32,
        deadline_seconds=600.0,
    )


def hand_back(token: str) -> HandBack:
    return HandBack(token=token, kind="error", reason="run_failed", detail="it broke")


def open_journal(folder: Path, boot_id: str = "boot") -> Journal:
    return Journal(folder / "journal.sqlite", boot_id=boot_id)


def test_a_reopened_journal_has_the_same_units(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.add_leases([lease(token) for token in TOKENS[:4]], now=100.0)
    journal.finish(TOKENS[1], RESULT)
    journal.finish(TOKENS[2], RESULT)
    journal.start_upload(TOKENS[2])
    journal.hand_back([hand_back(TOKENS[3])])
    before = journal.list_units()
    assert open_journal(tmp_path).list_units() == before
    assert [unit.state for unit in before] == [
        UnitState.HELD,
        UnitState.FINISHED,
        UnitState.UPLOADING,
        UnitState.RETURNING,
    ]
    assert before[0].deadline_at == 700.0


def test_after_a_reboot_deadlines_are_left_to_the_server(tmp_path: Path) -> None:
    open_journal(tmp_path, "one").add_leases([lease(TOKENS[0])], now=100.0)
    (unit,) = open_journal(tmp_path, "two").list_units()
    assert unit.deadline_at is None
    assert unit.state is UnitState.HELD


def test_a_lease_sent_again_changes_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.add_leases([lease(TOKENS[0])], now=100.0)
    journal.finish(TOKENS[0], RESULT)
    assert journal.add_leases([lease(TOKENS[0]), lease(TOKENS[1])], now=500.0)[0].token == TOKENS[1]
    unit = journal.get(TOKENS[0])
    assert unit is not None
    assert (unit.state, unit.leased_at) == (UnitState.FINISHED, 100.0)


def test_moves_from_the_wrong_state_are_refused_and_change_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.add_leases([lease(token) for token in TOKENS[:2]], now=1.0)
    assert not journal.start_upload(TOKENS[0])
    assert journal.finish(TOKENS[0], RESULT)
    assert not journal.finish(TOKENS[0], RESULT)
    assert journal.hand_back([hand_back(TOKENS[0]), hand_back(TOKENS[1])]) == [hand_back(TOKENS[1])]
    assert not journal.finish(TOKENS[1], RESULT)
    assert not journal.finish("unknown", RESULT)
    assert [unit.state for unit in journal.list_units()] == [UnitState.FINISHED, UnitState.RETURNING]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE unit SET state = 'finished'",
        "UPDATE unit SET state = 'returning'",
        "UPDATE unit SET state = 'somewhere'",
        "UPDATE unit SET return_reason = 'driving'",
    ],
)
def test_the_file_itself_refuses_a_state_without_its_facts(tmp_path: Path, statement: str) -> None:
    open_journal(tmp_path).add_leases([lease(TOKENS[0])], now=1.0)
    with sqlite3.connect(tmp_path / "journal.sqlite") as database, pytest.raises(sqlite3.IntegrityError):
        database.execute(statement)


def test_the_journal_is_forced_to_disk_at_every_move(tmp_path: Path) -> None:
    database = open_journal(tmp_path)._database
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)


class JournalMachine(RuleBasedStateMachine):
    """Any order of moves and restarts leaves the journal equal to a dictionary of states."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.journal = open_journal(Path(self.folder.name))
        self.model: dict[str, UnitState] = {}
        self.kept: set[str] = set()

    @rule(token=st.sampled_from(TOKENS))
    def lease(self, token: str) -> None:
        new = self.journal.add_leases([lease(token)], now=1.0)
        assert bool(new) == (token not in self.model)
        self.model.setdefault(token, UnitState.HELD)

    @rule(token=st.sampled_from(TOKENS))
    def finish(self, token: str) -> None:
        self.move(token, UnitState.HELD, UnitState.FINISHED, self.journal.finish(token, RESULT))

    @rule(token=st.sampled_from(TOKENS))
    def start_upload(self, token: str) -> None:
        self.move(token, UnitState.FINISHED, UnitState.UPLOADING, self.journal.start_upload(token))

    @rule(token=st.sampled_from(TOKENS))
    def give_back(self, token: str) -> None:
        is_kept = token in self.kept and self.model.get(token) is UnitState.FINISHED
        source = UnitState.FINISHED if is_kept else UnitState.HELD
        self.move(token, source, UnitState.RETURNING, bool(self.journal.hand_back([hand_back(token)])))

    @rule(token=st.sampled_from(TOKENS))
    def keep(self, token: str) -> None:
        is_new = self.model.get(token) is UnitState.FINISHED and token not in self.kept
        assert self.journal.keep(token, now_unix=5.0) == is_new
        if is_new:
            self.kept.add(token)

    @rule(tokens=st.sets(st.sampled_from(TOKENS)))
    def forget(self, tokens: set[str]) -> None:
        self.journal.forget(tokens)
        for token in tokens:
            self.model.pop(token, None)
        self.kept -= tokens

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = open_journal(Path(self.folder.name))

    def move(self, token: str, source: UnitState, target: UnitState, moved: bool) -> None:
        assert moved == (self.model.get(token) is source)
        if moved:
            self.model[token] = target

    @invariant()
    def the_journal_is_the_model(self) -> None:
        assert {unit.token: unit.state for unit in self.journal.list_units()} == self.model
        assert {unit.token for unit in self.journal.list_units() if unit.kept_at == 5.0} == self.kept

    def teardown(self) -> None:
        self.journal.close()
        self.folder.cleanup()


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_journal_of_the_first_version_is_brought_up_to_date_with_its_units(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, boot_id="boot")
    journal.add_leases([lease(TOKENS[0])], now=1.0)
    journal.finish(TOKENS[0], RESULT)
    journal.close()
    with sqlite3.connect(path) as database:
        database.executescript(
            "ALTER TABLE unit DROP COLUMN sketch; ALTER TABLE unit DROP COLUMN kept_at; PRAGMA user_version = 1;"
        )
    database.close()
    journal = Journal(path, boot_id="boot")
    journal.add_leases([lease(TOKENS[1])], now=2.0)
    journal.finish(TOKENS[1], replace(RESULT, sketch=bytes(range(256))))
    journal.close()
    again = Journal(path, boot_id="boot")
    assert [unit.result for unit in again.list_units()] == [RESULT, replace(RESULT, sketch=bytes(range(256)))]
    again.close()
