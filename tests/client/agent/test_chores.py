"""The agent's chores: one call of each kind at a time; earnings. (The self-test has its tests in `selftest/`.)"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetclient.agent.background import Ended, InlineBackground
from fleetclient.agent.chores import Chores
from fleetclient.agent.earnings import ASK_SECONDS, Earnings
from fleetclient.errors import ClientError
from fleetclient.logs import Log
from fleetclient.rules.rules import Rules
from fleetclient.usage import UsageMeter
from fleetclient.wire import Account

NOON = 1_790_078_400.0


class Counting:
    """A chore that is due every ten seconds."""

    kind = "counting"

    def __init__(self, call: Callable[[], object] = lambda: 7) -> None:
        self.call = call
        self.due_at = 0.0
        self.ends: list[Ended] = []

    def seconds_until_due(self, now: float) -> float:
        return self.due_at - now

    def prepare(self, now: float) -> Callable[[], object]:
        self.due_at = now + 10.0
        return self.call

    def settle(self, ended: Ended, now: float) -> None:
        del now
        self.ends.append(ended)


def fail(error: Exception) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


def run_chores(chore: Counting, times: list[float]) -> list[float]:
    background, log = InlineBackground(), Log(stream=io.StringIO())
    chores, waits = Chores([chore], background=background, log=log), []
    for now in times:
        chores.start(now)
        waits.append(chores.seconds_until_due(now))
        for ended in background.collect():
            assert chores.owns(ended.kind)
            chores.settle(ended, now)
    return waits


def test_a_chore_is_started_when_it_is_due_and_only_then() -> None:
    chore = Counting()
    waits = run_chores(chore, [0.0, 5.0, 9.0, 10.0, 11.0])
    assert [ended.value for ended in chore.ends] == [7, 7]
    assert waits == [float("inf"), 5.0, 1.0, float("inf"), 9.0]


def test_a_chore_that_fails_as_foreseen_is_tried_again_later() -> None:
    chore = Counting(fail(ClientError("no network")))
    run_chores(chore, [0.0, 10.0])
    assert [str(ended.error) for ended in chore.ends] == ["no network"] * 2


def test_a_mistake_in_a_chore_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_chores(Counting(fail(ZeroDivisionError())), [0.0])


class FakeNetwork:
    """Answers like the account of a car that has earned three units of the currency."""

    def __init__(self, currency: str | None = "EUR") -> None:
        self.asked: list[int] = []
        self.currency = currency

    def get_account(self, *, since: int) -> Account:
        self.asked.append(since)
        return Account(
            vehicle="veh_test",
            since=since,
            gross_microcredits=3_000_000,
            currency=self.currency,
            microcredits_per_currency_unit=1_000_000 if self.currency else None,
        )


def make_earnings(tmp_path: Path, network: Any, rules: Rules, **options: Any) -> tuple[Earnings, UsageMeter]:
    meter = UsageMeter(tmp_path / "usage.json", wall=lambda: NOON)
    earnings = Earnings(
        network=network,
        usage=meter,
        rules=lambda: rules,
        unix=lambda: NOON,
        watts=lambda: 100.0,
        may_ask=options.get("may_ask", lambda: True),
    )
    return earnings, meter


def ask(earnings: Earnings, now: float) -> None:
    call = earnings.prepare(now)
    earnings.settle(Ended(kind="account", value=call()), now)


def test_net_is_todays_pay_less_todays_electricity(tmp_path: Path) -> None:
    rules = replace(Rules(), currency="EUR", price_per_kwh=0.30, time_zone="Europe/Berlin")
    network = FakeNetwork()
    earnings, meter = make_earnings(tmp_path, network, rules)
    assert (earnings.net_today(), earnings.net_per_hour()) == (None, None)
    meter.add_work(7200.0, 1000.0)
    ask(earnings, 0.0)
    # The car's midnight: 22:00 of the day before in UTC.
    assert network.asked == [int(NOON) - 14 * 3600]
    assert earnings.net_today() == pytest.approx(3.0 - 0.30)
    assert earnings.net_per_hour() == pytest.approx(1.5 - 0.03)
    assert earnings.seconds_until_due(1.0) == ASK_SECONDS - 1.0


@pytest.mark.parametrize("currency", ["USD", None])
def test_pay_in_another_currency_or_in_none_is_not_guessed(tmp_path: Path, currency: str | None) -> None:
    rules = replace(Rules(), currency="EUR", price_per_kwh=0.30)
    earnings, meter = make_earnings(tmp_path, FakeNetwork(currency), rules)
    meter.add_work(7200.0, 1000.0)
    ask(earnings, 0.0)
    assert (earnings.net_today(), earnings.net_per_hour()) == (None, None)


def test_an_hourly_rate_needs_half_an_hour_of_work(tmp_path: Path) -> None:
    earnings, meter = make_earnings(tmp_path, FakeNetwork(), replace(Rules(), currency="EUR", price_per_kwh=0.0))
    meter.add_work(60.0)
    ask(earnings, 0.0)
    assert earnings.net_today() == 3.0
    assert earnings.net_per_hour() is None


def test_nothing_is_asked_from_a_network_that_is_not_allowed(tmp_path: Path) -> None:
    earnings, _ = make_earnings(tmp_path, FakeNetwork(), Rules(), may_ask=lambda: False)
    assert earnings.seconds_until_due(0.0) == float("inf")
