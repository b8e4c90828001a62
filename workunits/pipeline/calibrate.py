"""Calibrate: audits that agreed show how far honest cars of a class are really apart, and correct its tolerance.

In: resolved audits. Out: a class's own tolerance of a model, used from the next comparison on. Moves nothing.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from workunits.store import tolerances


def learn_tolerances(*, now: datetime) -> int:
    """Correct tolerances by what audits have shown since the last time; return how many changed. Once a day will do."""
    with transaction.atomic():
        return tolerances.learn_tolerances(now=now)
