"""What today's work has brought, as a chore: asked from the server now and then, less what the electricity cost."""

from __future__ import annotations

from collections.abc import Callable

from fleetclient.agent.background import Ended
from fleetclient.energy import compute_net, compute_net_per_hour
from fleetclient.network import Network
from fleetclient.rules.calendar import get_local_second, get_value
from fleetclient.rules.rules import Rules
from fleetclient.usage import UsageMeter
from fleetclient.wire import Account

ACCOUNT = "account"
ASK_SECONDS = 900.0
DAY_SECONDS = 86400
# An hourly rate out of a few minutes is a guess.
WORKED_SECONDS_MIN = 1800.0


class Earnings:
    """The chore, and what is known. Amounts are in the owner's currency; None where pay or price are not known."""

    kind = ACCOUNT

    def __init__(
        self,
        *,
        network: Network,
        usage: UsageMeter,
        rules: Callable[[], Rules],
        unix: Callable[[], float],
        watts: Callable[[], float],
        may_ask: Callable[[], bool],
    ) -> None:
        self._network = network
        self._usage = usage
        self._rules = rules
        self._unix = unix
        self._watts = watts
        self._may_ask = may_ask
        self._due_at = float("-inf")
        self._gross: float | None = None

    def seconds_until_due(self, now: float) -> float:
        """Return how long the question may wait."""
        return max(0.0, self._due_at - now) if self._may_ask() else float("inf")

    def prepare(self, now: float) -> Callable[[], object]:
        """Return the question: what has come in since the car's midnight."""
        self._due_at = now + ASK_SECONDS
        unix = int(self._unix())
        since = unix - get_local_second(self._rules().time_zone, unix) % DAY_SECONDS
        return lambda: self._network.get_account(since=since)

    def settle(self, ended: Ended, now: float) -> None:
        """Keep the answer; what cannot be known is not guessed."""
        del now
        account = ended.value
        rules = self._rules()
        is_ours = isinstance(account, Account) and account.currency is not None and account.currency == rules.currency
        self._gross = account.gross if is_ours and isinstance(account, Account) else None

    def net_today(self) -> float | None:
        """Return today's pay less today's electricity."""
        energy_wh = self._usage.today().energy_wh
        return compute_net(gross=self._gross, energy_wh=energy_wh, price_per_kwh=self._price()).amount

    def net_per_hour(self) -> float | None:
        """Return what an hour of work leaves, judged by today's pay for the hours worked."""
        seconds = self._usage.today().worked_seconds
        gross = None if self._gross is None or seconds < WORKED_SECONDS_MIN else self._gross / seconds * 3600.0
        return compute_net_per_hour(gross_per_hour=gross, watts=self._watts(), price_per_kwh=self._price())

    def _price(self) -> float | None:
        rules = self._rules()
        if rules.price_per_kwh is None:
            return None
        return get_value(rules.price_table, rules.time_zone, self._unix(), default=rules.price_per_kwh)
