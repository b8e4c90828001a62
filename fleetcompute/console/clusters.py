"""Owners that may be one party: their tables, and a page of clusters with the reason for each."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone

from fleetcompute.console.bases import ReadOnlyAdmin, hexadecimal
from fleetcompute.console.pages import render_page
from workunits.models import ClusterEdge, OwnerCluster, OwnerNetwork
from workunits.selectors.clusters import (
    CLUSTERS_SHOWN,
    PAIRS_USUAL,
    PAIRS_WINDOW,
    list_clusters,
    list_frequent_pairs,
)


@admin.register(OwnerCluster)
class OwnerClusterAdmin(ReadOnlyAdmin):
    """Which cluster each owner is in; owners that stand alone have no row."""

    list_display = ("owner", "cluster_id", "computed_at")
    search_fields = ("=owner__public_id", "=cluster_id")
    ordering = ("cluster_id", "owner_id")
    list_select_related = ("owner",)

    def get_urls(self) -> Any:
        """Put the page before the table's own addresses."""
        overview = path("overview/", self.admin_site.admin_view(self.overview), name="clusters")
        return [overview, *super().get_urls()]

    def overview(self, request: HttpRequest) -> TemplateResponse:
        """Show clusters with the reasons for them, and pairs that check each other oftener than by chance."""
        clusters, has_more = list_clusters(clusters_max=CLUSTERS_SHOWN)
        context = {
            "clusters": clusters,
            "has_more": has_more,
            "clusters_shown": CLUSTERS_SHOWN,
            "pairs": list_frequent_pairs(now=timezone.now()),
            "pairs_usual": PAIRS_USUAL,
            "pairs_days": PAIRS_WINDOW.days,
        }
        return render_page(self, request, "clusters", "Owners that may be one party", context)


@admin.register(ClusterEdge)
class ClusterEdgeAdmin(ReadOnlyAdmin):
    """Reasons to think that two owners are one party; they expire."""

    list_display = ("first", "second", "kind", "detail", "seen_at", "expires_at")
    list_filter = ("kind",)
    search_fields = ("=first__public_id", "=second__public_id")
    ordering = ("-id",)
    list_select_related = ("first", "second")


@admin.register(OwnerNetwork)
class OwnerNetworkAdmin(ReadOnlyAdmin):
    """Networks that owners' cars called from, as hashes under a key that changes every month."""

    list_display = ("owner", "prefix", "first_seen_at", "last_seen_at")
    search_fields = ("=owner__public_id",)
    exclude = ("prefix_hash",)
    readonly_fields = ("prefix",)
    ordering = ("-id",)
    list_select_related = ("owner",)
    prefix = hexadecimal("prefix_hash", "hash of the network")
