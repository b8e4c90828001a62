"""Clusters as rows: networks that owners' cars call from, edges between owners, and who holds his share of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.db import connection

from workunits.domain.clusters import CROWD, EDGE_LIFETIME, REGISTRATION_WINDOW
from workunits.models import ClusterEdge, OwnerNetwork
from workunits.store.db import execute, fetch_all, fetch_one

# A cluster counts as at work while one of its cars was heard of in this time.
ACTIVE_FOR: Final = timedelta(hours=1)
# Of a larger batch, so many units are looked at: a share of 5 % is then known within half a percent.
UNITS_SAMPLED: Final = 4096
# A batch of which nothing was leased for this long has nobody capped.
STALLED_AFTER: Final = timedelta(minutes=10)
_LOCK: Final = 0x636C7573  # "clus": one computation of clusters at a time


class Edge(NamedTuple):
    """A reason to think that two owners are one party, or an operator's word that they are not."""

    first_id: int
    second_id: int
    kind: str
    detail: str
    seen_at: datetime
    expires_at: datetime


def note_network(owner_id: int, prefix_hash: bytes, now: datetime) -> None:
    """Write that an owner's car called from a network."""
    execute("note_network", {"owner_id": owner_id, "prefix_hash": prefix_hash, "now": now})


def try_cluster_lock() -> bool:
    """Take the lock of the computation until the transaction ends; False where another process computes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])


def forget_networks(*, seen_before: datetime) -> int:
    """Remove networks that no car called from since; return how many."""
    return OwnerNetwork.objects.filter(last_seen_at__lt=seen_before).delete()[0]


def join_networks(*, now: datetime) -> int:
    """Write the edges that networks give together with a second signal; return how many are new or seen again."""
    parameters = {"now": now, "window": REGISTRATION_WINDOW, "crowd": CROWD, "lifetime": EDGE_LIFETIME}
    return execute("join_networks", parameters)


def forget_edges(*, now: datetime) -> int:
    """Remove edges that have expired; return how many."""
    return ClusterEdge.objects.filter(expires_at__lte=now).delete()[0]


def write_edges(edges: Sequence[Edge]) -> None:
    """Write edges, or renew those that are there with their time and detail."""
    ClusterEdge.objects.bulk_create(
        [
            ClusterEdge(
                first_id=min(edge.first_id, edge.second_id),
                second_id=max(edge.first_id, edge.second_id),
                kind=edge.kind,
                detail=edge.detail,
                seen_at=edge.seen_at,
                expires_at=edge.expires_at,
            )
            for edge in edges
        ],
        update_conflicts=True,
        unique_fields=["first", "second", "kind"],
        update_fields=["detail", "seen_at", "expires_at"],
    )


def list_edges(*, owner_id: int | None = None) -> list[Edge]:
    """Return all edges, or those of one owner, by owners and kind."""
    rows = ClusterEdge.objects.order_by("first_id", "second_id", "kind")
    if owner_id is not None:
        rows = rows.filter(first_id=owner_id) | rows.filter(second_id=owner_id)
    return [Edge._make(row) for row in rows.values_list(*Edge._fields)]


def remove_edge(first_id: int, second_id: int, kind: str) -> bool:
    """Remove one edge; False where there is none."""
    edge = ClusterEdge.objects.filter(first_id=min(first_id, second_id), second_id=max(first_id, second_id), kind=kind)
    return edge.delete()[0] > 0


def write_clusters(clusters: Mapping[int, int], *, now: datetime) -> None:
    """Make the clusters those that were computed, given by owner."""
    execute("write_clusters", {"owners": list(clusters), "clusters": list(clusters.values()), "now": now})


def count_active_clusters(now: datetime) -> int:
    """Return how many clusters have cars at work; an owner without a cluster counts as one."""
    row = fetch_one("count_active_clusters", {"since": now - ACTIVE_FOR})
    return int(row[0]) if row else 0


def list_active_clusters(now: datetime, *, clusters_max: int) -> frozenset[int]:
    """Return some clusters that have cars at work, by id; all of them where they are fewer than `clusters_max`."""
    parameters = {"since": now - ACTIVE_FOR, "clusters_max": clusters_max}
    return frozenset(cluster_id for (cluster_id,) in fetch_all("list_active_clusters", parameters))


def cap_batches(share_max: float, *, now: datetime) -> int:
    """Note on each running batch whose cluster holds its share of it; return on how many that has changed."""
    parameters = {"share_max": share_max, "sampled": UNITS_SAMPLED, "stalled_before": now - STALLED_AFTER}
    return execute("cap_batches", parameters)
