"""A researcher's pages: batches with their progress."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from fleetcompute.portal.session import user_id_of
from workunits.models import Batch
from workunits.selectors import batches as selectors

BATCHES_SHOWN = 50


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
    return render(request, "batch.html", _with_counts(found, selectors.count_running_rows([found])[found.pk]))


def _with_counts(row: Batch, running_rows: int) -> dict[str, Any]:
    counts = selectors.count_rows(row, running_rows)
    done = counts.total - counts.pending - counts.running
    return {"batch": row, "counts": counts, "done": done, "percent": 100 * done // counts.total}
