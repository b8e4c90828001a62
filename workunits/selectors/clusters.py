"""Reads for operators: clusters with the reasons for them, and pairs of owners that check each other often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.db.models import Count, F, Q, Window
from django.db.models.functions import RowNumber

from workunits.models import ClusterEdge, Owner, OwnerCluster
from workunits.store.db import fetch_all

PAIRS_WINDOW: Final = timedelta(days=30)
# Pairs that met more often than this in the window are shown, where chance does not explain it.
PAIRS_USUAL: Final = 3
PAIRS_SHOWN: Final = 100
AUDITS_READ: Final = 200_000
CLUSTERS_SHOWN: Final = 50
OWNERS_SHOWN: Final = 20
REASONS_SHOWN: Final = 50
EDGES_READ: Final = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterShown:
    """A cluster: some of its owners' public ids, how many there are, and each edge as a sentence.

    Edges that hold apart form one without owners.
    """

    owners: list[str]
    size: int
    reasons: list[str]


class FrequentPair(NamedTuple):
    """Two owners, by public id, how often one ran the other's units again, and how often chance would have it."""

    first: str
    second: str
    audits: int
    expected: float


def list_clusters(*, clusters_max: int) -> tuple[list[ClusterShown], bool]:
    """Return the largest clusters, then what operators hold apart, and whether there are more clusters.

    Of a large cluster some owners and edges are shown. Four reads, each bounded.
    """
    sizes = OwnerCluster.objects.order_by().values_list("cluster_id").annotate(size=Count("owner_id"))
    found = list(sizes.order_by("-size", "cluster_id")[: clusters_max + 1])
    size_of = dict(found[:clusters_max])
    members = _list_members(list(size_of))
    cluster_of = {owner_id: cluster_id for cluster_id, owners in members.items() for owner_id in owners}
    reasons = _list_reasons(cluster_of)
    names = dict(Owner.objects.filter(id__in=list(cluster_of)).values_list("id", "public_id"))
    shown = [
        ClusterShown(
            owners=[names[owner_id] for owner_id in members[cluster_id]],
            size=size,
            reasons=reasons[cluster_id][:REASONS_SHOWN],
        )
        for cluster_id, size in size_of.items()
    ]
    apart = [ClusterShown(owners=[], size=0, reasons=reasons[None][:REASONS_SHOWN])] if reasons[None] else []
    return shown + apart, len(found) > clusters_max


def _list_members(clusters: Sequence[int]) -> dict[int, list[int]]:
    place = Window(RowNumber(), partition_by=F("cluster_id"), order_by=F("owner_id").asc())
    rows = OwnerCluster.objects.filter(cluster_id__in=clusters).annotate(place=place).filter(place__lte=OWNERS_SHOWN)
    members: dict[int, list[int]] = defaultdict(list)
    for cluster_id, owner_id in rows.order_by("owner_id").values_list("cluster_id", "owner_id"):
        members[cluster_id].append(owner_id)
    return members


def _list_reasons(cluster_of: Mapping[int, int]) -> dict[int | None, list[str]]:
    """Return the edges of these owners by cluster, and under None those that hold any two owners apart."""
    joins = ~Q(kind=ClusterEdge.Kind.APART) & Q(first_id__in=list(cluster_of))
    edges = ClusterEdge.objects.filter(joins | Q(kind=ClusterEdge.Kind.APART)).select_related("first", "second")
    reasons: dict[int | None, list[str]] = defaultdict(list)
    for edge in edges.order_by("first_id", "second_id", "kind")[:EDGES_READ]:
        cluster_id = None if edge.kind == ClusterEdge.Kind.APART else cluster_of[edge.first_id]
        pair = f"{edge.first.public_id} and {edge.second.public_id}"
        reasons[cluster_id].append(f"{pair}, {edge.kind}: {edge.detail} (until {edge.expires_at:%Y-%m-%d})")
    return reasons


def list_frequent_pairs(*, now: datetime) -> list[FrequentPair]:
    """Return pairs of owners that met in audits far more often than chance explains, most often first."""
    parameters = {
        "since": now - PAIRS_WINDOW,
        "usual": PAIRS_USUAL,
        "pairs_max": PAIRS_SHOWN,
        "audits_max": AUDITS_READ,
    }
    return [FrequentPair._make(row) for row in fetch_all("list_frequent_pairs", parameters)]
