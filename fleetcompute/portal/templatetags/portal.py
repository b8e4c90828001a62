"""How the portal's pages write amounts and reasons."""

from __future__ import annotations

from typing import Final

from django import template
from django.utils.translation import gettext, gettext_lazy

register = template.Library()

MICROCREDITS_PER_CREDIT: Final = 1_000_000
# The reasons that cars report (docs/reference/vehicle-wire.md); one that is not listed is shown as it came.
_REASONS: Final = {
    "driving": gettext_lazy("driving"),
    "unplugged": gettext_lazy("not plugged in"),
    "not_plugged_in": gettext_lazy("not plugged in"),
    "not_parked": gettext_lazy("not parked"),
    "soc_low": gettext_lazy("battery too low"),
    "charging_first": gettext_lazy("charging first"),
    "not_home_wifi": gettext_lazy("not on a home network"),
    "price_high": gettext_lazy("electricity too dear now"),
    "net_below_floor": gettext_lazy("would not pay enough now"),
    "too_cold": gettext_lazy("too cold"),
    "hours_cap": gettext_lazy("worked enough today"),
    "suspended_ops": gettext_lazy("the fleet is stopped"),
    "unconfined": gettext_lazy("cannot confine strangers' models"),
    "finishing": gettext_lazy("finishing what it has"),
    "user_present": gettext_lazy("somebody is in the car"),
    "too_hot": gettext_lazy("too hot"),
    "paused_user": gettext_lazy("paused by you"),
    "outside_hours": gettext_lazy("outside your hours"),
    "shutting_down": gettext_lazy("shutting down"),
    "data_cap": gettext_lazy("data allowance used up"),
    "updating": gettext_lazy("updating"),
    "signal_stale": gettext_lazy("no signal from the car"),
}


@register.filter(name="credits")
def as_credits(microcredits: int) -> str:
    """Write an amount of microcredits in credits, exactly."""
    whole, rest = divmod(abs(microcredits), MICROCREDITS_PER_CREDIT)
    fraction = f"{rest:06d}".rstrip("0")
    text = f"{whole:,}.{fraction}" if fraction else f"{whole:,}"
    return f"-{text}" if microcredits < 0 else text


@register.filter(name="percent")
def as_percent(share: float) -> str:
    """Write a share in per cent, with two significant digits and no more zeros than it needs."""
    return f"{float(f'{100 * share:.2g}'):.10f}".rstrip("0").rstrip(".") + " %"


@register.filter(name="reason")
def as_reason(code: str) -> str:
    """Write a reason code in words."""
    return str(_REASONS.get(code, gettext(code.replace("_", " "))))
