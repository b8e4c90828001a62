"""The answer to `GET account`: what this car's work has earned since a moment, before electricity."""

from __future__ import annotations

import json
from dataclasses import dataclass

from fleetclient.wire.fields import MalformedMessage, as_document, text, whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """An estimate: results that were accepted since `since` (Unix seconds). They may still be revoked.

    `currency` and `microcredits_per_currency_unit` are None where the fleet pays in nothing but credits.
    """

    vehicle: str
    since: int
    gross_microcredits: int
    currency: str | None
    microcredits_per_currency_unit: int | None

    @property
    def gross(self) -> float | None:
        """The same in the currency, or None without one."""
        if not self.microcredits_per_currency_unit:
            return None
        return self.gross_microcredits / self.microcredits_per_currency_unit


def decode_account(body: bytes) -> Account:
    """Return the account in an answer whose signature was checked; raises MalformedMessage."""
    try:
        document = as_document(json.loads(body), "the account")
    except ValueError:
        raise MalformedMessage("the account is not JSON") from None
    has_currency = document.get("currency") is not None
    return Account(
        vehicle=text(document, "vehicle"),
        since=whole(document, "since"),
        gross_microcredits=whole(document, "gross_today_microcredits"),
        currency=text(document, "currency") if has_currency else None,
        microcredits_per_currency_unit=whole(document, "microcredits_per_currency_unit", low=1)
        if has_currency
        else None,
    )
