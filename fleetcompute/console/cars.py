"""Cars: vehicles, their presence, pairings."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path

from fleetcompute.console.bases import ReadOnlyAdmin, hexadecimal
from fleetcompute.console.standing import show_trust, trust_link
from workunits.models import DevicePairing, Vehicle, VehiclePresence


@admin.register(Vehicle)
class VehicleAdmin(ReadOnlyAdmin):
    """Paired cars."""

    list_display = (
        "name",
        "public_id",
        "owner",
        "status",
        "paired_at",
        "clone_suspected_at",
        "revoked_at",
        "trust_page",
    )
    list_filter = ("status",)
    search_fields = ("=public_id", "name", "=owner__public_id")
    ordering = ("-id",)
    list_select_related = ("owner",)
    show_facets = admin.ShowFacets.NEVER
    fields = (
        "public_id",
        "owner",
        "name",
        "key",
        "status",
        "paired_at",
        "rotated_at",
        "clone_suspected_at",
        "revoked_at",
        "rules",
    )
    readonly_fields = ("key",)
    key = hexadecimal("public_key", "Ed25519 public key")

    def get_urls(self) -> Any:
        """Put the page of a vehicle's trust before the table's own addresses."""
        page = path("<int:vehicle_id>/trust/", self.admin_site.admin_view(self.trust), name="vehicle_trust")
        return [page, *super().get_urls()]

    def trust(self, request: HttpRequest, vehicle_id: int) -> HttpResponse:
        """Show the vehicle's trust over time, and take orders about it."""
        return show_trust(self, request, vehicle_id)

    @admin.display(description="")
    def trust_page(self, vehicle: Vehicle) -> str:
        """Return the way to the vehicle's trust."""
        return trust_link(vehicle.pk)


@admin.register(VehiclePresence)
class VehiclePresenceAdmin(ReadOnlyAdmin):
    """Where each car stands: last seen, eligibility, leases."""

    list_display = (
        "vehicle",
        "last_seen_at",
        "eligible",
        "reasons",
        "agent",
        "comparison_class",
        "lease_expires_at",
        "misses",
    )
    list_filter = ("eligible",)
    search_fields = ("=vehicle__public_id", "vehicle__name")
    ordering = ("-vehicle_id",)
    list_select_related = ("vehicle",)


@admin.register(DevicePairing)
class DevicePairingAdmin(ReadOnlyAdmin):
    """Runs of the device grant. Its secret is kept only as a digest, and that is not shown."""

    list_display = ("user_code", "car_name", "agent", "state", "created_at", "expires_at", "vehicle")
    list_filter = ("state",)
    search_fields = ("=user_code", "car_name")
    exclude = ("device_code_sha256", "public_key")
    ordering = ("-id",)
    list_select_related = ("vehicle",)
