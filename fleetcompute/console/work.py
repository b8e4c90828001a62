"""Work: models, datasets, batches; units, replicas and their events through the views of the hot tables."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.utils import timezone

from fleetcompute.console.audits import order_run
from fleetcompute.console.bases import (
    AnyInline,
    HotTableAdmin,
    ReadOnlyAdmin,
    choice_filter,
    hexadecimal,
    parse_key,
)
from fleetcompute.console.pages import render_page
from workunits.domain.replicas import ReplicaRole
from workunits.models import Batch, BatchProgress, Blob, Dataset, OnnxModel, Replica, Shard, Unit, UnitEvent
from workunits.pipeline.oversight import REASON_CHARS_MAX
from workunits.store.anchors import is_anchor_alive

ANCHOR: Final = "an anchor"


@admin.register(Blob)
class BlobAdmin(ReadOnlyAdmin):
    """Blobs by content."""

    list_display = ("sha256", "size_bytes", "created_at")
    search_fields = ("=sha256",)
    ordering = ("sha256",)


@admin.register(OnnxModel)
class OnnxModelAdmin(ReadOnlyAdmin):
    """Admitted models."""

    list_display = (
        "name",
        "public_id",
        "project",
        "opset",
        "batch_rows",
        "flops_per_row",
        "memory_bytes",
        "created_at",
    )
    search_fields = ("=public_id", "name", "=blob__sha256")
    ordering = ("-id",)
    list_select_related = ("project",)


@admin.register(Dataset)
class DatasetAdmin(ReadOnlyAdmin):
    """Datasets."""

    list_display = ("name", "public_id", "project", "format", "rows", "created_at")
    list_filter = ("format",)
    search_fields = ("=public_id", "name", "=blob__sha256")
    ordering = ("-id",)
    list_select_related = ("project",)


class BatchProgressInline(AnyInline):
    """A batch's running totals, below it."""

    model = BatchProgress
    can_delete = False

    def has_change_permission(self, request: object, obj: object = None) -> bool:
        """Return False."""
        return False


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    """Batches with their totals."""

    list_display = (
        "public_id", "project", "model", "dataset", "status", "outcome", "rows_total", "validated", "level",
        "quorum", "finality", "created_at",
    )  # fmt: skip
    list_filter = ("status", "outcome", "level")
    search_fields = ("=public_id", "=project__public_id", "project__name")
    ordering = ("-id",)
    list_select_related = ("project", "model", "dataset", "progress")
    inlines = (BatchProgressInline,)

    @admin.display(description="rows validated")
    def validated(self, batch: Batch) -> int:
        """Return how many rows are validated."""
        return batch.progress.rows_validated


@admin.register(BatchProgress)
class BatchProgressAdmin(ReadOnlyAdmin):
    """Running totals of batches."""

    list_display = (
        "batch", "units_open", "units_validated", "units_final", "units_failed", "units_cancelled", "rows_revoked",
        "verdict_number", "settled_verdict_number", "released_verdict_number",
    )  # fmt: skip
    search_fields = ("=batch__public_id",)
    ordering = ("-batch_id",)
    list_select_related = ("batch",)


@admin.register(Shard)
class ShardAdmin(ReadOnlyAdmin):
    """Shards of batches."""

    list_display = ("batch", "number", "row_start", "row_end", "size_bytes", "blob_sha256")
    search_fields = ("=batch__public_id", "=blob_sha256")
    ordering = ("batch_id", "number")
    list_select_related = ("batch",)


@admin.register(Unit)
class UnitAdmin(HotTableAdmin):
    """Work units."""

    key_fields = ("batch_id", "number")
    list_display = (
        "id", "batch", "state", "row_start", "rows", "needed", "urgent", "decided_at", "final_at", "confirmed",
        "reason",
    )  # fmt: skip
    list_filter = ("state", "urgent")
    exclude = ("input_digest",)
    readonly_fields = ("input_sha256",)
    input_sha256 = hexadecimal("input_digest", "SHA-256 of the input")

    def get_urls(self) -> Any:
        """Put the order of an anchor's run before the table's own addresses."""
        page = path("<str:unit_id>/rerun/", self.admin_site.admin_view(self.rerun), name="unit_rerun")
        return [page, *super().get_urls()]

    def rerun(self, request: HttpRequest, unit_id: str) -> HttpResponse:
        """Ask why an anchor shall run the unit again, then order it."""
        unit = self.get_object(request, unit_id)
        if not isinstance(unit, Unit):
            raise Http404
        if request.method == "POST" and order_run(request, unit.batch_id, unit.number):
            self.log_change(request, unit, f"anchor run ordered: {request.POST['reason'].strip()}")
            return redirect("admin:workunits_unit_change", quote(unit.pk))
        context = {
            "unit": unit,
            "has_anchor": is_anchor_alive(timezone.now()),
            "reason_chars_max": REASON_CHARS_MAX,
        }
        return render_page(self, request, "rerun", f"Run unit {unit.number} again", context)


@admin.register(Replica)
class ReplicaAdmin(HotTableAdmin):
    """Replicas of work units."""

    key_fields = ("batch_id", "unit_number", "owner_id")
    list_display = (
        "id", "batch", "holder", "car", "role_name", "attempt", "state", "sequence", "drawn", "comparison_class",
        "leased_at", "deadline_at", "ended_at", "reason",
    )  # fmt: skip
    list_filter = ("state", choice_filter("role", [(role.value, role.name.lower()) for role in ReplicaRole]))
    list_select_related = ("batch", "owner", "vehicle")
    exclude = ("output_digest", "owner", "vehicle", "role")
    readonly_fields = ("holder", "car", "role_name", "output_sha256")
    output_sha256 = hexadecimal("output_digest", "SHA-256 of the output")

    @admin.display(description="owner")
    def holder(self, replica: Replica) -> str:
        """Return the owner; an anchor has none."""
        return ANCHOR if replica.owner is None else str(replica.owner)

    @admin.display(description="vehicle")
    def car(self, replica: Replica) -> str:
        """Return the vehicle; an anchor is none."""
        return ANCHOR if replica.vehicle is None else str(replica.vehicle)

    @admin.display(description="role", ordering="role")
    def role_name(self, replica: Replica) -> str:
        """Return why the unit was run."""
        return ReplicaRole(replica.role).name.lower()


@admin.register(UnitEvent)
class UnitEventAdmin(HotTableAdmin):
    """Moves worth remembering. The last part of the id is the event's own number, which is not a column of the view."""

    key_fields = ("batch_id", "unit_number")
    list_display = ("id", "batch", "event", "detail", "owner_id", "at")

    def get_object(self, request: object, object_id: str, from_field: str | None = None) -> UnitEvent | None:
        """Find among the events of the unit, few enough to look through."""
        batch_and_unit, _, _ = object_id.rpartition(":")
        return find_event(object_id, batch_and_unit)


def find_event(object_id: str, unit_id: str) -> UnitEvent | None:
    """Return the event with this id among those of the unit."""
    lookup = parse_key(unit_id, ("batch_id", "unit_number"))
    return None if lookup is None else UnitEvent.objects.filter(**lookup, id=object_id).first()
