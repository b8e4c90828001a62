"""Django's view of the engine: one app, because its tables are one schema."""

from __future__ import annotations

from django.apps import AppConfig


class WorkunitsConfig(AppConfig):
    """The engine's tables, migrations and management commands."""

    name = "workunits"
    verbose_name = "Work units"
    default_auto_field = "django.db.models.BigAutoField"
