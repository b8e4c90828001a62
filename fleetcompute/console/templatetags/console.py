"""How the console's pages write numbers and lay out what is compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from django import template
from django.utils import timezone
from django.utils.translation import gettext

from workunits.domain.differences import VALUES, RowDifference
from workunits.models import Audit
from workunits.selectors.attention import Attention, get_attention
from workunits.selectors.vehicle_trust import TrustView

register = template.Library()


class Cell(NamedTuple):
    """What one side has in a row; `is_cut` where there is more of it."""

    values: list[Any]
    top: list[tuple[int, float]]
    is_cut: bool


@register.simple_tag(name="attention")
def read_attention() -> Attention:
    """Return what waits for an operator."""
    return get_attention(now=timezone.now())


@register.filter(name="number")
def as_number(value: float) -> str:
    """Write a number with four significant digits; whole ones as they are."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else "∞" if value > 0 else "-∞" if value < 0 else "NaN"


@register.filter(name="numbers")
def as_numbers(values: Sequence[float]) -> str:
    """Write some numbers."""
    return ", ".join(as_number(value) for value in values)


@register.filter(name="shape")
def as_shape(shape: Sequence[int]) -> str:
    """Write a shape."""
    return " x ".join(map(str, shape)) if shape else gettext("one value")


@register.filter(name="cells")
def as_cells(row: RowDifference) -> list[Cell]:
    """Return each side's part of a row."""
    return [Cell(values, top, is_cut=len(values) == VALUES) for values, top in zip(row.values, row.top, strict=True)]


@register.filter(name="audit_lists")
def as_audit_lists(view: TrustView) -> list[tuple[str, list[Audit]]]:
    """Return a vehicle's audits under their headings."""
    return [(gettext("Open audits"), view.open_audits), (gettext("Failed audits"), view.failed_audits)]
