"""Credit: earning items become transfers exactly once, and the ledger adds up."""

from __future__ import annotations

import uuid

import pytest
from django.db import DatabaseError, connection, transaction

from tests.engine.factories import NOW, Car, make_batch, make_project, rows_of
from workunits.models import Account, AccountBalance, Transfer
from workunits.pipeline.credit import settle_credit
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
