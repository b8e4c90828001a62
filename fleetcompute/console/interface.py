"""Interface: what the API remembers of its own."""

from __future__ import annotations

from django.contrib import admin

from fleetcompute.console.bases import ReadOnlyAdmin


def register() -> None:
    """Register the API's table. A function, for only here does the console look into its sister."""
    from django.apps import apps

    answers = apps.get_model("api", "IdempotentAnswer")

    @admin.register(answers)
    class IdempotentAnswerAdmin(ReadOnlyAdmin):
        """Answers kept under idempotency keys."""

        list_display = ("key", "project", "status", "created_at")
        search_fields = ("=key", "=project__public_id")
        exclude = ("fingerprint",)
        ordering = ("-id",)
        list_select_related = ("project",)
