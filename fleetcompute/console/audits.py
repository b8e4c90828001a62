"""Audits and anchors' runs: their tables, disagreements with what differs, distances between classes, audit rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone

from fleetcompute.console.bases import ReadOnlyAdmin, choice_filter
from fleetcompute.console.charts import Point, line_chart
from fleetcompute.console.pages import act, render_page
from workunits.domain.audits.levels import LEVEL_NUMBER
from workunits.domain.audits.sequence import AuditState
from workunits.models import AnchorMachine, AnchorRun, Audit, BatchNotice, ModelTolerance, Revocation
from workunits.pipeline import oversight
from workunits.selectors import audit_statistics, disagreements
from workunits.store.anchors import is_anchor_alive

ANY: Final = [("", "any")]
STATES: Final = [
    ("", "lost or undecided"),
    (disagreements.COMPARED, "all with tensors or an anchor"),
    *((each.value, each.value) for each in AuditState),
]
LEVEL_NAMES: Final = [(number, level.value) for level, number in LEVEL_NUMBER.items()]
LEVELS: Final = [(str(number), name) for number, name in LEVEL_NAMES]


class FilterForm(forms.Form):
    """What to list of the disagreements."""

    state = forms.ChoiceField(choices=STATES, required=False, label="Outcome")
    stage = forms.ChoiceField(choices=[*ANY, *Audit.Stage.choices], required=False)
    level = forms.ChoiceField(choices=[*ANY, *LEVELS], required=False)
    batch = forms.CharField(max_length=40, required=False, label="batch (bat_…)")
    model = forms.CharField(max_length=40, required=False, label="model (mod_…)")
    vehicle = forms.CharField(max_length=40, required=False, label="car (veh_…)")
    comparison_class = forms.CharField(max_length=120, required=False, label="class of either side")
    days = forms.IntegerField(min_value=1, max_value=3650, required=False, label="last days")
    before = forms.IntegerField(min_value=1, max_value=2**62, required=False, widget=forms.HiddenInput)


@admin.register(Audit)
class AuditAdmin(ReadOnlyAdmin):
    """Audits, from the draw to the outcome."""

    list_display = (
        "id", "batch", "unit_number", "vehicle", "sequence", "level_name", "reason", "needs", "state", "stage",
        "distance", "primary_class", "auditor_class", "created_at", "resolved_at",
    )  # fmt: skip
    list_filter = ("state", "reason", "needs", "stage", choice_filter("level", LEVEL_NAMES))
    search_fields = ("=batch__public_id", "=vehicle__public_id")
    ordering = ("-id",)
    list_select_related = ("batch", "vehicle")
    show_facets = admin.ShowFacets.NEVER

    @admin.display(description="level", ordering="level")
    def level_name(self, audit: Audit) -> str:
        """Return the level's name."""
        return audit_statistics.LEVEL_OF[audit.level].value

    def get_urls(self) -> Any:
        """Put the pages before the table's own addresses."""
        view = self.admin_site.admin_view
        pages = [
            path("disagreements/", view(self.disagreements), name="disagreements"),
            path("disagreements/<int:audit_id>/", view(self.disagreement), name="disagreement"),
            path("distances/", view(self.distances), name="distances"),
            path("rates/", view(self.rates), name="audit_rates"),
        ]
        return [*pages, *super().get_urls()]

    def disagreements(self, request: HttpRequest) -> TemplateResponse:
        """List audits that were lost or left undecided, or those that the form asks for."""
        form = FilterForm(request.GET)
        found: list[disagreements.Listed] = []
        has_more = False
        if form.is_valid():
            given = form.cleaned_data
            found, has_more = disagreements.list_disagreements(_read_filter(given), before=given["before"])
        asked = request.GET.copy()
        if found:
            asked["before"] = str(found[-1].audit.pk)
        context = {
            "form": form,
            "audits": [(each.audit, each.auditor, self.level_name(each.audit)) for each in found],
            "is_filtered": any(value for name, value in request.GET.items() if name != "before"),
            "older": f"?{asked.urlencode()}" if has_more else "",
        }
        return render_page(self, request, "disagreements", "Disagreements", context)

    def disagreement(self, request: HttpRequest, audit_id: int) -> HttpResponse:
        """Show one with the differing tensors side by side; take the order to have an anchor run the unit again."""
        found = disagreements.get_disagreement(audit_id)
        if found is None:
            raise Http404
        if request.method == "POST":
            if order_run(request, found.audit.batch_id, found.audit.unit_number):
                self.log_change(request, found.audit, f"anchor run ordered: {request.POST['reason'].strip()}")
            return redirect("admin:disagreement", audit_id)
        context = {
            "found": found,
            "level": self.level_name(found.audit),
            "unit_id": quote(f"{found.audit.batch_id}:{found.audit.unit_number}"),
            "names": [side.name for side in found.sides if side.tensors is not None],
            "has_anchor": is_anchor_alive(timezone.now()),
            "reason_chars_max": oversight.REASON_CHARS_MAX,
        }
        title = f"Audit {audit_id} of unit {found.audit.unit_number}"
        return render_page(self, request, "disagreement", title, context)

    def distances(self, request: HttpRequest) -> TemplateResponse:
        """Show how far outputs were apart, by model and pair of comparison classes."""
        model = request.GET.get("model", "")[:40].replace("\0", "")
        found, has_more = audit_statistics.list_distances(model=model)
        context = {
            "rows": [(each, _bars(each.counts)) for each in found],
            "model": model,
            "has_more": has_more,
            "pairs_shown": audit_statistics.PAIRS_SHOWN,
            "edges": _edge_names(),
            "audits_read": f"{audit_statistics.AUDITS_READ:,}",
        }
        return render_page(self, request, "distances", "Distances between outputs", context)

    def rates(self, request: HttpRequest) -> TemplateResponse:
        """Show how often results were audited, by day and level, and what came of it."""
        rates = audit_statistics.list_rates(now=timezone.now())
        days = sorted({each.day for each in rates})
        context = {
            "rates": rates[::-1],
            "chart": _draw_rates(rates) if days else "",
            "results_read": f"{audit_statistics.RESULTS_READ:,}",
            "audits_read": f"{audit_statistics.AUDITS_READ:,}",
        }
        return render_page(self, request, "rates", "Audit rates", context)


def order_run(request: HttpRequest, batch_id: int, unit_number: int) -> bool:
    """Have an anchor run a unit again, with the reason in the request's form."""
    return act(
        request,
        lambda: oversight.order_anchor_run(
            batch_id=batch_id,
            unit_number=unit_number,
            reason=request.POST.get("reason", ""),
            operator=request.user.get_username(),
            now=timezone.now(),
        ),
        f"An anchor will run unit {unit_number} again.",
    )


def _read_filter(given: dict[str, Any]) -> disagreements.DisagreementFilter:
    days = given["days"]
    return disagreements.DisagreementFilter(
        state=given["state"],
        stage=given["stage"],
        level=int(given["level"]) if given["level"] else None,
        batch=given["batch"],
        model=given["model"],
        vehicle=given["vehicle"],
        comparison_class=given["comparison_class"],
        since=timezone.now() - timedelta(days=days) if days else None,
    )


def _edge_names() -> list[str]:
    """Return from where on each column counts."""
    return [f"from {low:g}" for low in (0, *audit_statistics.DISTANCE_EDGES)]


def _bars(counts: Sequence[int]) -> list[tuple[int, float, str]]:
    """Return each count with its bar's width in per cent (by logarithm: one of a million must show) and its meaning."""
    largest = math.log1p(max(counts))
    lows = (0.0, *audit_statistics.DISTANCE_EDGES)
    kinds = ["off" if low >= 4 else "doubt" if low >= 1 else "" for low in lows]
    return [
        (count, 100 * math.log1p(count) / largest if largest else 0.0, kind)
        for count, kind in zip(counts, kinds, strict=True)
    ]


def _draw_rates(rates: Sequence[audit_statistics.DayRates]) -> str:
    days = sorted({each.day for each in rates})
    span = max(1, (days[-1] - days[0]).days)
    series: dict[str, list[Point]] = {}
    for each in rates:
        if each.drawn_share is not None:
            place = Point((each.day - days[0]).days / span, 100 * each.drawn_share)
            series.setdefault(each.level.value, []).append(place)
    labels = [f"{day:%d %b}" for day in ([days[0], days[-1]] if len(days) > 1 else days)]
    return line_chart(
        series, title="Share of results drawn for an audit, by day", x_labels=labels, y_max=100, unit=" %"
    )


@admin.register(AnchorRun)
class AnchorRunAdmin(ReadOnlyAdmin):
    """What anchors are to run and have run."""

    list_display = (
        "id", "batch", "unit_number", "reason", "state", "attempts", "created_at", "claimed_by", "done_at", "seconds",
        "error",
    )  # fmt: skip
    list_filter = ("state", "reason")
    search_fields = ("=batch__public_id", "=claimed_by")
    exclude = ("output_digest",)
    ordering = ("-id",)
    list_select_related = ("batch",)
    show_facets = admin.ShowFacets.NEVER


@admin.register(AnchorMachine)
class AnchorMachineAdmin(ReadOnlyAdmin):
    """Operators' machines that run units again."""

    list_display = ("name", "seen_at", "comparison_class", "problem")
    search_fields = ("=name",)
    ordering = ("name",)


@admin.register(Revocation)
class RevocationAdmin(ReadOnlyAdmin):
    """Results that were taken back."""

    list_display = ("id", "batch", "unit_number", "vehicle", "sequence", "audit_id", "created_at", "done_at")
    search_fields = ("=batch__public_id", "=vehicle__public_id")
    ordering = ("-id",)
    list_select_related = ("batch", "vehicle")


@admin.register(BatchNotice)
class BatchNoticeAdmin(ReadOnlyAdmin):
    """What researchers were told."""

    list_display = ("at", "batch", "code", "text")
    list_filter = ("code",)
    search_fields = ("=batch__public_id",)
    ordering = ("-id",)
    list_select_related = ("batch",)


@admin.register(ModelTolerance)
class ModelToleranceAdmin(ReadOnlyAdmin):
    """Calibrated tolerances of models' outputs, by comparison class."""

    list_display = (
        "model", "output", "comparison_class", "tolerance", "observed_max", "samples", "source", "calibrated_at",
    )  # fmt: skip
    list_filter = ("source",)
    search_fields = ("=model__public_id", "=output")
    ordering = ("-id",)
    list_select_related = ("model",)
