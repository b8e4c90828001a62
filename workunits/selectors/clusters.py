"""Reads for operators: clusters with the reasons for them, and pairs of owners that check each other often."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from workunits.models import ClusterEdge, Owner, OwnerCluster
from workunits.store.db import fetch_all

PAIRS_WINDOW: Final = timedelta(days=30)
# Pairs that met more often than this in the window are shown, where chance does not explain it.
PAIRS_USUAL: Final = 3
PAIRS_SHOWN: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterShown:
    """A cluster: its owners' public ids, and each edge as a sentence. Edges that hold apart form one without owners."""

    owners: list[str]
    reasons: list[str]


class FrequentPair(NamedTuple):
    """Two owners, by public id, how often one ran the other's units again, and how often chance would have it."""

    first: str
    second: str
    audits: int
    expected: float


def list_clusters() -> list[ClusterShown]:
    """Return all clusters, largest first, then what operators hold apart."""
    cluster_of = dict(OwnerCluster.objects.values_list("owner_id", "cluster_id"))
    reasons: dict[int | None, list[str]] = defaultdict(list)
    edges = list(ClusterEdge.objects.order_by("first_id", "second_id", "kind"))
    people = set(cluster_of) | {edge.first_id for edge in edges} | {edge.second_id for edge in edges}
    names = dict(Owner.objects.filter(id__in=people).values_list("id", "public_id"))
    for edge in edges:
        cluster_id = None if edge.kind == ClusterEdge.Kind.APART else cluster_of.get(edge.first_id)
        pair = f"{names[edge.first_id]} and {names[edge.second_id]}"
        reasons[cluster_id].append(f"{pair}, {edge.kind}: {edge.detail} (until {edge.expires_at:%Y-%m-%d})")
    members: dict[int, list[str]] = defaultdict(list)
    for owner_id, cluster_id in sorted(cluster_of.items()):
        members[cluster_id].append(names[owner_id])
    shown = [ClusterShown(owners=owners, reasons=reasons[cluster]) for cluster, owners in members.items()]
    shown.sort(key=lambda cluster: -len(cluster.owners))
    return shown + ([ClusterShown(owners=[], reasons=reasons[None])] if reasons[None] else [])


def list_frequent_pairs(*, now: datetime) -> list[FrequentPair]:
    """Return pairs of owners that met in audits far more often than chance explains, most often first."""
    parameters = {"since": now - PAIRS_WINDOW, "usual": PAIRS_USUAL, "pairs_max": PAIRS_SHOWN}
    return [FrequentPair._make(row) for row in fetch_all("list_frequent_pairs", parameters)]
