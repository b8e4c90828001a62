"""Vehicles' honesty: the tables, and a vehicle's page with its trust over time, why, and what an operator may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from fleetcompute.console.bases import AnyAdmin, HotTableAdmin, ReadOnlyAdmin, choice_filter, parse_key
from fleetcompute.console.charts import Point, line_chart
from fleetcompute.console.pages import act, render_page
from workunits.domain.errors import FleetError
from workunits.models import TrustEvent, VehicleCommit, VehicleStanding, VehicleTrust
from workunits.pipeline import oversight
from workunits.pipeline.trust import release_vehicle
from workunits.selectors.audit_statistics import LEVEL_OF
from workunits.selectors.vehicle_trust import TrustView, get_vehicle_trust

MICROCREDITS_PER_CREDIT: Final = 1_000_000


class NotHeldBack(FleetError):
    """This car is neither watched nor quarantined."""

    code = "not_held_back"


def show_trust(section: AnyAdmin, request: HttpRequest, vehicle_id: int) -> HttpResponse:
    """Show a vehicle's trust and why it is so; carry out what the operator orders, and only with a reason."""
    now = timezone.now()
    found = get_vehicle_trust(vehicle_id, now=now)
    if found is None:
        raise Http404
    if request.method == "POST":
        order = _ORDERS.get(request.POST.get("order", ""))
        if order is None:
            raise Http404
        action, done = order
        reason, operator = request.POST.get("reason", ""), request.user.get_username()
        if act(request, lambda: action(vehicle_id, reason, operator), done):
            section.log_change(request, found.vehicle, f"{request.POST['order']}: {reason.strip()}")
        return redirect("admin:vehicle_trust", vehicle_id)
    waits = found.standing is not None and found.standing.appealed_at and not found.standing.appeal_answered_at
    context = {
        "found": found,
        "history": _draw_history(found),
        "charts": _draw_probabilities(found),
        "events": [(event, LEVEL_OF[event.level].value if event.level is not None else "") for event in found.events],
        "state": found.standing.state if found.standing else "normal",
        "appeal_waits": bool(waits),
        "reason_chars_max": oversight.REASON_CHARS_MAX,
    }
    return render_page(section, request, "vehicle_trust", f"Trust of {found.vehicle.name}", context)


def _quarantine(vehicle_id: int, reason: str, operator: str) -> None:
    oversight.quarantine_vehicle(vehicle_id=vehicle_id, reason=reason, operator=operator, now=timezone.now())


def _release(vehicle_id: int, reason: str, operator: str) -> None:
    said = oversight.check_reason(reason)
    if not release_vehicle(vehicle_id=vehicle_id, reason=f"{operator}: {said}", now=timezone.now()):
        raise NotHeldBack


def _answer(vehicle_id: int, reason: str, operator: str) -> None:
    oversight.answer_appeal(vehicle_id=vehicle_id, answer=reason, operator=operator, now=timezone.now())


_ORDERS: dict[str, tuple[Callable[[int, str, str], None], str]] = {
    "quarantine": (_quarantine, "The car gets no more work; its owner reads why."),
    "release": (_release, "The car works as any other again."),
    "answer": (_answer, "The owner reads the answer on his page."),
}


def _draw_history(found: TrustView) -> str:
    """Draw what the vehicle was believed over time, in credits; empty where that was never anything."""
    points = [point for line in found.history.values() for point in line]
    highest = max((point.weight for point in points), default=0)
    if not highest:
        return ""
    first, last = min(point.at for point in points), max(point.at for point in points)
    span = (last - first).total_seconds() or 1.0
    return line_chart(
        {
            level: [
                Point((point.at - first).total_seconds() / span, point.weight / MICROCREDITS_PER_CREDIT)
                for point in line
            ]
            for level, line in found.history.items()
        },
        title="Accepted weight over time, in credits",
        x_labels=[f"{first:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}"],
        y_max=highest / MICROCREDITS_PER_CREDIT,
    )


def _draw_probabilities(found: TrustView) -> str:
    """Draw with which probability each commitment was audited: that is the trust as it was used."""
    if not found.commits:
        return ""
    first, last = found.commits[0].sequence, found.commits[-1].sequence
    span = max(1, last - first)
    series: dict[str, list[Point]] = {}
    for commit in found.commits:
        if commit.role == 0:
            place = Point((commit.sequence - first) / span, commit.probability)
            series.setdefault(LEVEL_OF[commit.level].value, []).append(place)
    return line_chart(
        series,
        title="Probability of an audit, by commitment",
        x_labels=[f"commitment {first}", f"commitment {last}"],
    )


@admin.register(VehicleStanding)
class VehicleStandingAdmin(ReadOnlyAdmin):
    """Where vehicles stand over all levels, and appeals."""

    list_display = (
        "vehicle", "trust_page", "state", "losses", "appealed_at", "appeal_answered_at", "quarantined_at", "reason",
    )  # fmt: skip
    list_filter = (
        "state",
        ("appealed_at", admin.EmptyFieldListFilter),
        ("appeal_answered_at", admin.EmptyFieldListFilter),
    )
    search_fields = ("=vehicle__public_id", "=vehicle__owner__public_id")
    ordering = ("-vehicle_id",)
    list_select_related = ("vehicle",)

    @admin.display(description="resets")
    def losses(self, standing: VehicleStanding) -> int:
        """Return how often its trust was reset."""
        return len(standing.resets)

    @admin.display(description="")
    def trust_page(self, standing: VehicleStanding) -> str:
        """Return the way to the vehicle's page."""
        return trust_link(standing.vehicle_id)


@admin.register(VehicleTrust)
class VehicleTrustAdmin(ReadOnlyAdmin):
    """Accepted weights, as they were when they were last folded."""

    list_display = (
        "vehicle", "level", "model_id", "comparison_class", "weight_microcredits", "weighed_at", "final_sequence",
    )  # fmt: skip
    list_filter = (choice_filter("level", [(number, level.value) for number, level in LEVEL_OF.items()]),)
    search_fields = ("=vehicle__public_id",)
    ordering = ("-id",)
    list_select_related = ("vehicle",)
    show_facets = admin.ShowFacets.NEVER


@admin.register(TrustEvent)
class TrustEventAdmin(ReadOnlyAdmin):
    """What changed vehicles' trust."""

    list_display = ("at", "vehicle", "kind", "level", "sequence", "weight_before", "weight_after", "detail")
    list_filter = ("kind",)
    search_fields = ("=vehicle__public_id",)
    ordering = ("-id",)
    list_select_related = ("vehicle",)
    show_facets = admin.ShowFacets.NEVER


@admin.register(VehicleCommit)
class VehicleCommitAdmin(HotTableAdmin):
    """Numbered commitments with their draws."""

    key_fields = ("vehicle_id", "sequence")
    list_display = (
        "id", "vehicle", "batch", "unit_number", "level", "role", "comparison_class", "weight", "probability", "drawn",
        "committed_at",
    )  # fmt: skip
    list_select_related = ("vehicle", "batch")
    search_fields = ("vehicle_id",)
    search_help_text = "A car's public id, or the leading parts of an id (vehicle:sequence)."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by a car's public id or by the leading parts of an id; batches have no index here."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith("veh_"):
            return queryset.filter(vehicle__public_id=term), False
        lookup = parse_key(term, self.key_fields[: term.count(":") + 1])
        return (queryset.none() if lookup is None else queryset.filter(**lookup)), False


def trust_link(vehicle_id: int) -> str:
    """Return a link to a vehicle's page."""
    return format_html('<a href="{}">Trust</a>', reverse("admin:vehicle_trust", args=[vehicle_id]))
