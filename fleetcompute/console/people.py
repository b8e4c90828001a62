"""People: users, owners, projects, API keys. The only rows an operator may edit."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from fleetcompute.console.bases import AnyAdmin, ReadOnlyAdmin
from workunits.models import ApiKey, Owner, Project, User

admin.site.register(User, UserAdmin)


@admin.register(Owner)
class OwnerAdmin(ReadOnlyAdmin):
    """Owners of cars."""

    list_display = ("display_name", "public_id", "user", "created_at")
    search_fields = ("=public_id", "display_name", "user__username", "user__email")
    ordering = ("-id",)
    list_select_related = ("user",)


@admin.register(Project)
class ProjectAdmin(AnyAdmin):
    """Researchers' projects; members may be changed."""

    list_display = ("name", "public_id", "created_at")
    search_fields = ("=public_id", "name")
    readonly_fields = ("public_id", "created_at")
    filter_horizontal = ("members",)
    ordering = ("-id",)
    show_full_result_count = False

    def has_delete_permission(self, request: object, obj: Project | None = None) -> bool:
        """Return False: batches and money hang on a project."""
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """API keys; only a digest of the secret is kept, and that is not shown."""

    list_display = ("name", "prefix", "project", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at")
    search_fields = ("=public_id", "=prefix", "name")
    exclude = ("secret_sha256",)
    ordering = ("-id",)
    list_select_related = ("project",)
