"""A researcher's pages: batches with their progress."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from fleetcompute.portal.session import user_id_of
from workunits.models import Batch
from workunits.selectors import batches as selectors
from workunits.selectors import verification

BATCHES_SHOWN = 50
BAR_WIDTH = 1000


@login_required
def batches(request: HttpRequest) -> HttpResponse:
    """List the newest batches of the user's projects."""
    rows = list(selectors.list_member_batches(user_id_of(request))[:BATCHES_SHOWN])
    running = selectors.count_running_rows(rows)
    return render(request, "batches.html", {"batches": [_with_counts(row, running[row.pk]) for row in rows]})


@login_required
def batch(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one batch of the user's projects."""
    found = selectors.list_member_batches(user_id_of(request)).filter(public_id=public_id).first()
    if found is None:
        raise Http404
    shown = _with_counts(found, selectors.count_running_rows([found])[found.pk])
    numbers = verification.get_verification(found, now=timezone.now())
    return render(request, "batch.html", {**shown, "verification": numbers})


def _with_counts(row: Batch, running_rows: int) -> dict[str, Any]:
    counts, finality = selectors.count_rows(row, running_rows), verification.count_finality(row)
    done = counts.total - counts.pending - counts.running
    ended = counts.failed + counts.cancelled + counts.expired
    return {
        "batch": row,
        "counts": counts,
        "finality": finality,
        "done": done,
        "percent": 100 * done // counts.total,
        "bar": _bar(counts.total, final=finality.final, provisional=finality.provisional, ended=ended),
    }


def _bar(total: int, **parts: int) -> list[dict[str, Any]]:
    """Return the parts of a bar that is `BAR_WIDTH` wide, one behind the other."""
    shown, start = [], 0
    for name, rows in parts.items():
        end = start + rows
        first, last = BAR_WIDTH * start // total, BAR_WIDTH * end // total
        shown.append({"name": name, "start": first, "width": last - first})
        start = end
    return shown
