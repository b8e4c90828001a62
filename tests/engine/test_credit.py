"""Credit: earning items become transfers exactly once, and the ledger adds up."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings

from tests.engine.audit_rows import make_audited_batch
from tests.engine.factories import NOW, Car, make_batch, make_project, make_vehicle, rows_of
from workunits.models import Account, AccountBalance, BatchProgress, Transfer
from workunits.pipeline.credit import check_verification_account, last_release, settle_credit
from workunits.pipeline.validate import validate_ready
from workunits.store.ledger import TransferKeyReused, budget_account, platform_account, post_transfer

pytestmark = pytest.mark.django_db


def run_batch(units: int = 3, reward: int = 50):
    batch = make_batch(units=units, reward=reward)
    cars = [Car(), Car()]
    for car in cars:
        car.lease(units)
        car.report_all()
    validate_ready(now=NOW)
    return batch, cars


def balances():
    return {row.account.code: row.balance_microcredits for row in AccountBalance.objects.select_related("account")}


def test_settlement_pays_each_owner_the_sum_of_his_items_from_the_projects_budget():
    batch, cars = run_batch(units=3, reward=50)
    assert settle_credit(now=NOW) == 2
    owners = [f"owner:{car.vehicle.owner.public_id}:earned" for car in cars]
    assert balances() == {owners[0]: 150, owners[1]: 150, f"project:{batch.project.public_id}:budget": -300}
    assert sum(balances().values()) == 0


def test_settling_again_adds_nothing():
    run_batch()
    settle_credit(now=NOW)
    before = list(Transfer.objects.values())
    assert settle_credit(now=NOW) == 0
    assert list(Transfer.objects.values()) == before


def test_a_settlement_whose_watermark_was_lost_adds_nothing_either():
    batch, _ = run_batch()
    settle_credit(now=NOW)
    before = list(Transfer.objects.values())
    batch.progress.settled_verdict_number = 0
    batch.progress.save()
    settle_credit(now=NOW)
    assert list(Transfer.objects.values()) == before


def test_later_verdicts_are_settled_by_later_transfers():
    batch = make_batch(units=2)
    cars = [Car(), Car()]
    for _ in range(2):
        for car in cars:
            car.lease(1)
            car.report_all()
        validate_ready(now=NOW)
        settle_credit(now=NOW)
    assert Transfer.objects.filter(batch_id=batch.id).count() == 4
    assert sum(item["amount_microcredits"] for item in rows_of("earning_item")) == 200


@pytest.mark.parametrize("statement", ["UPDATE {} SET amount_microcredits = 1", "DELETE FROM {}"])
@pytest.mark.parametrize("table", ["transfer", "earning_item"])
def test_postgresql_refuses_to_change_money(table, statement):
    run_batch()
    settle_credit(now=NOW)
    before = rows_of(table)
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(table))
    assert rows_of(table) == before


def test_a_transfer_under_a_used_key_is_the_same_or_an_error():
    project = make_project()
    cash = platform_account(Account.Kind.CASH_IN, now=NOW)
    budget = budget_account(project, now=NOW)
    key = uuid.uuid4()

    def post(amount: int) -> bool:
        return post_transfer(
            key=key, debit=cash, credit=budget, amount_microcredits=amount, kind="top_up", detail="", now=NOW
        )

    assert post(100) is True
    assert post(100) is False
    with pytest.raises(TransferKeyReused):
        post(101)
    assert Transfer.objects.get().amount_microcredits == 100


DAY = timedelta(seconds=settings.FLEET.release_seconds)
PLATFORM = "platform:platform_verification"


class Books:
    """Earning items and outcomes of one batch, written as verdicts write them, and what the ledger should say."""

    def __init__(self) -> None:
        self.batch = make_audited_batch(units=1)
        self.vehicles = [make_vehicle() for _ in range(2)]
        self.items: list[dict[str, Any]] = []

    def verdict(self) -> int:
        progress = BatchProgress.objects.get(batch=self.batch)
        progress.verdict_number += 1
        progress.save()
        return progress.verdict_number

    def earn(self, owner: int, amount: int, *, verification: bool = False, provisional: bool = True) -> int:
        """Write an item and return its place."""
        vehicle, unit = self.vehicles[owner], len(self.items)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO earning_item (batch_id, unit_number, owner_id, vehicle_id, amount_microcredits,"
                " verdict_number, created_at, provisional, verification) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    self.batch.id, unit, vehicle.owner_id, vehicle.id, amount, self.verdict(), NOW, provisional,
                    verification,
                ],
            )  # fmt: skip
        self.items.append({
            "owner": owner, "amount": amount, "verification": verification, "provisional": provisional, "outcome": None,
        })  # fmt: skip
        return unit

    def end(self, item: int, outcome: str, at=NOW) -> None:
        """Write what became of a provisional item."""
        row = self.items[item]
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO earning_outcome (batch_id, unit_number, owner_id, outcome, amount_microcredits,"
                " verdict_number, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [self.batch.id, item, self.vehicles[row["owner"]].owner_id, outcome, row["amount"], self.verdict(), at],
            )
        row["outcome"], row["ended_at"] = outcome, at

    def expected(self, at) -> Counter[str]:
        """Return what every account should hold once all is settled that may be settled at a moment."""
        held: Counter[str] = Counter()
        for row in self.items:
            name = self.vehicles[row["owner"]].owner.public_id
            is_final = row["outcome"] == "final" and row["ended_at"] < last_release(at)
            if row["outcome"] == "revoked":
                continue
            source = PLATFORM if row["verification"] else self.budget
            is_earned = is_final or not row["provisional"]
            held[f"owner:{name}:{'earned' if is_earned else 'provisional'}"] += row["amount"]
            held[source] -= row["amount"]
            if row["provisional"] and not row["verification"]:
                held[self.budget] -= row["amount"] // 5
                held[PLATFORM] += row["amount"] // 5
        return Counter({code: balance for code, balance in held.items() if balance})

    @property
    def budget(self) -> str:
        return f"project:{self.batch.project.public_id}:budget"

    def name(self, owner: int, part: str) -> str:
        return f"owner:{self.vehicles[owner].owner.public_id}:{part}"


def held():
    return {code: balance for code, balance in balances().items() if balance}


def test_a_provisional_result_pays_into_the_provisional_account_and_is_released_with_the_next_set():
    books = Books()
    item = books.earn(0, 70)
    assert settle_credit(now=NOW) == 2
    paid = {books.budget: -84, PLATFORM: 14}  # a fifth of it is the premium of this level
    assert held() == {books.name(0, "provisional"): 70, **paid}
    books.end(item, "final")
    assert settle_credit(now=NOW) == 0
    assert settle_credit(now=last_release(NOW) + DAY - timedelta(seconds=1)) == 0
    assert held() == {books.name(0, "provisional"): 70, **paid}
    assert settle_credit(now=last_release(NOW) + DAY) == 1
    assert held() == {books.name(0, "earned"): 70, **paid}
    assert [each.kind for each in Transfer.objects.order_by("sequence")] == ["settlement", "premium", "release"]
    assert settle_credit(now=NOW + 9 * DAY) == 0


def test_a_revoked_result_goes_back_at_once_to_where_its_pay_came_from():
    books = Books()
    result, rerun = books.earn(0, 70), books.earn(0, 30, verification=True)
    settle_credit(now=NOW)
    assert held() == {
        books.name(0, "provisional"): 100, books.budget: -84, PLATFORM: -16,
    }  # fmt: skip
    books.end(result, "revoked")
    assert settle_credit(now=NOW) == 2
    assert held() == {books.name(0, "provisional"): 30, PLATFORM: -30}
    books.end(rerun, "revoked")
    assert settle_credit(now=NOW) == 1
    assert held() == {}


def test_what_was_earned_and_revoked_between_two_settlements_leaves_all_entries():
    books = Books()
    books.end(books.earn(1, 40), "revoked")
    assert settle_credit(now=NOW) == 4
    assert [(each.kind, each.amount_microcredits) for each in Transfer.objects.order_by("sequence")] == [
        ("settlement", 40),
        ("reversal", 40),
        ("premium_return", 8),
        ("premium", 8),
    ]
    assert held() == {}


def test_final_results_of_an_earlier_set_are_released_although_later_ones_wait():
    books = Books()
    early, late = books.earn(0, 10), books.earn(1, 20)
    books.end(early, "final", NOW)
    books.end(late, "final", NOW + DAY)
    assert settle_credit(now=NOW + DAY) == 4
    paid = {books.budget: -36, PLATFORM: 6}
    assert held() == {books.name(0, "earned"): 10, books.name(1, "provisional"): 20, **paid}
    settle_credit(now=NOW + 2 * DAY)
    assert held() == {books.name(0, "earned"): 10, books.name(1, "earned"): 20, **paid}


def test_a_release_whose_watermark_was_lost_adds_nothing():
    books = Books()
    books.end(books.earn(0, 10), "final")
    settle_credit(now=NOW + DAY)
    before = list(Transfer.objects.values())
    BatchProgress.objects.filter(batch=books.batch).update(settled_verdict_number=0, released_verdict_number=0)
    settle_credit(now=NOW + DAY)
    assert list(Transfer.objects.values()) == before


def test_operators_are_alarmed_when_reruns_cost_more_than_was_set_aside(caplog, settings):
    books = Books()
    books.earn(0, 50, verification=True)
    settle_credit(now=NOW)
    with caplog.at_level(logging.ERROR, logger="workunits.pipeline.credit"):
        assert check_verification_account() == -50
        assert caplog.records == []
        settings.FLEET = type(settings.FLEET)(verification_debt_microcredits_max=49)
        assert check_verification_account() == -50
    assert [record.getMessage() for record in caplog.records] == [
        "re-runs have cost 50 microcredits more than was set aside for them"
    ]


events = strategies.lists(
    strategies.one_of(
        strategies.tuples(
            strategies.just("earn"), strategies.integers(0, 1), strategies.integers(1, 9),
            strategies.booleans(), strategies.booleans(),
        ),
        strategies.tuples(
            strategies.just("end"), strategies.integers(0, 9), strategies.sampled_from(["final", "revoked"])
        ),
        strategies.tuples(strategies.sampled_from(["settle", "crash", "wait"])),
    ),
    max_size=16,
)  # fmt: skip


@given(events)
@hypothesis_settings(max_examples=60)
def test_every_item_is_once_in_earned_provisional_or_nowhere_after_any_history(history):
    with transaction.atomic():
        books, at = Books(), NOW
        for event, *values in history:
            if event == "earn":
                owner, amount, verification, provisional = values
                books.earn(owner, amount, verification=verification, provisional=provisional)
            elif event == "end" and values[0] < len(books.items):
                row = books.items[values[0]]
                if row["provisional"] and row["outcome"] is None:
                    books.end(values[0], values[1], at)
            elif event == "wait":
                at += DAY
            elif event == "crash":
                with transaction.atomic():
                    settle_credit(now=at)
                    transaction.set_rollback(True)
            elif event == "settle":
                settle_credit(now=at)
                assert held() == books.expected(at)
                assert all(value >= 0 for code, value in held().items() if code.startswith("owner:"))
        settle_credit(now=at + 2 * DAY)
        assert held() == books.expected(at + 2 * DAY)
        assert sum(held().values()) == 0
        transaction.set_rollback(True)
