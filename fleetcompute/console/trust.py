"""Trust: what the admission service was asked, what it signed, and what cars can fetch."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from fleetcompute.console.bases import ReadOnlyAdmin
from workunits.models.trust import AdmissionLogEntry, ModelAdmission, TrustFile, TrustOrder


@admin.register(ModelAdmission)
class ModelAdmissionAdmin(ReadOnlyAdmin):
    """Where each model stands with the admission service."""

    list_display = ("model", "short_hash", "state", "reason", "attempts", "requested_at", "decided_at")
    list_filter = ("state",)
    search_fields = ("=sha256", "=model__public_id")
    ordering = ("-model_id",)
    list_select_related = ("model",)

    @admin.display(description="SHA-256")
    def short_hash(self, row: ModelAdmission) -> str:
        """Return the beginning of the model's hash."""
        return row.sha256[:12]


@admin.register(TrustFile)
class TrustFileAdmin(ReadOnlyAdmin):
    """The files of the repository as cars fetch them."""

    list_display = ("name", "role", "version", "published_at", "replaced_at")
    list_filter = ("role",)
    search_fields = ("=name",)
    exclude = ("content",)
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrustFile]:
        """Leave the files' bytes where they are."""
        return super().get_queryset(request).defer("content")


@admin.register(TrustOrder)
class TrustOrderAdmin(ReadOnlyAdmin):
    """What operators have asked of the admission service, and what came of it."""

    list_display = ("id", "kind", "sha256", "outcome", "created_at", "done_at")
    list_filter = ("kind",)
    search_fields = ("=sha256",)
    exclude = ("content",)
    ordering = ("-id",)


@admin.register(AdmissionLogEntry)
class AdmissionLogEntryAdmin(ReadOnlyAdmin):
    """The public log of models."""

    list_display = ("index", "kind", "sha256", "size_bytes", "admitted_at")
    list_filter = ("kind",)
    search_fields = ("=sha256",)
    ordering = ("-index",)
