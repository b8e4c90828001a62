"""Clusters: which owners may be one party, and how much of a batch one party may do.

In: the networks that cars call from, registrations, installations' marks, what payments show, and operators' word.
Out: `owner_cluster`, which dispatch reads with every vehicle, and `batch.capped_owner_ids`, which its board shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final

from django.conf import settings
from django.db import transaction

from workunits.domain.clusters import EDGE_LIFETIME, NETWORK_KEPT, batch_share_max, find_clusters, hash_prefix
from workunits.domain.clusters import network_prefix as prefix_of
from workunits.domain.errors import FleetError
from workunits.models import ClusterEdge, Owner
from workunits.store import clusters as store
from workunits.store.clusters import Edge

NOTED_AGAIN_AFTER: Final = timedelta(days=1)
# Owners that this process remembers to have noted; beyond that it forgets all and notes them again.
NOTED_MAX: Final = 200_000
OPERATOR_EDGE_LIFETIME: Final = timedelta(days=365)

_noted: dict[int, datetime] = {}


class OwnerUnknown(FleetError):
    """There is no such owner."""

    code: ClassVar[str] = "owner_unknown"


class SameOwner(FleetError):
    """An owner is always one party with himself."""

    code: ClassVar[str] = "same_owner"


def note_network(owner_id: int, address: str, now: datetime) -> bool:
    """Remember the network that an owner's car called from, hashed; at most once a day, owner and process.

    What tells nothing (loopback, private ranges, a carrier's shared ones) is not kept. Returns whether it was written.
    """
    noted_at = _noted.get(owner_id)
    if noted_at is not None and now - noted_at < NOTED_AGAIN_AFTER:
        return False
    prefix = prefix_of(address)
    if not prefix:
        return False
    if len(_noted) >= NOTED_MAX:
        _noted.clear()
    days = int(now.timestamp() // 86_400)
    store.note_network(owner_id, hash_prefix(prefix, key=settings.FLEET_TOKEN_KEY, unix_days=days), now)
    _noted[owner_id] = now
    return True


def compute_clusters(*, now: datetime) -> int:
    """Compute the clusters from the edges that stand; return how many owners are in one with others.

    Safe at any time: one process does it, the others leave it to that one and return 0.
    """
    with transaction.atomic():
        if not store.try_cluster_lock():
            return 0
        store.forget_networks(seen_before=now - NETWORK_KEPT)
        store.join_networks(now=now)
        store.forget_edges(now=now)
        edges = store.list_edges()
        apart = {edge[:2] for edge in edges if edge.kind == ClusterEdge.Kind.APART}
        clusters = find_clusters(edge[:2] for edge in edges if edge[:2] not in apart)
        store.write_clusters(clusters, now=now)
    return len(clusters)


def cap_batches(*, now: datetime) -> int:
    """Note on each running batch who holds his share of it; return on how many that has changed."""
    share_max = batch_share_max(store.count_active_clusters(now), settings.FLEET.cluster_share_ratio)
    return store.cap_batches(share_max, now=now)


def link_payouts(pairs: Sequence[tuple[int, int]], *, now: datetime) -> None:
    """Join owners that are paid to one account, given in pairs by whoever knows accounts; repeat it while it is so."""
    store.write_edges(
        [
            Edge(first, second, ClusterEdge.Kind.PAYOUT.value, "paid to one account", now, now + EDGE_LIFETIME)
            for first, second in pairs
        ]
    )


def link_owners(
    first_id: int, second_id: int, *, reason: str, now: datetime, lifetime: timedelta = OPERATOR_EDGE_LIFETIME
) -> None:
    """Join two owners by an operator's word, until the lifetime ends. Raises OwnerUnknown, SameOwner."""
    _tell(first_id, second_id, ClusterEdge.Kind.OPERATOR, ClusterEdge.Kind.APART, reason, now, lifetime)


def part_owners(
    first_id: int, second_id: int, *, reason: str, now: datetime, lifetime: timedelta = OPERATOR_EDGE_LIFETIME
) -> None:
    """Hold two owners apart by an operator's word: no edge between these two counts until the lifetime ends.

    They stay in one cluster where others join them. Raises OwnerUnknown, SameOwner.
    """
    _tell(first_id, second_id, ClusterEdge.Kind.APART, ClusterEdge.Kind.OPERATOR, reason, now, lifetime)


def _tell(
    first_id: int,
    second_id: int,
    kind: ClusterEdge.Kind,
    opposite: ClusterEdge.Kind,
    reason: str,
    now: datetime,
    lifetime: timedelta,
) -> None:
    if first_id == second_id:
        raise SameOwner
    with transaction.atomic():
        if Owner.objects.filter(id__in=(first_id, second_id)).count() < 2:
            raise OwnerUnknown(f"there is no owner {first_id} or no owner {second_id}")
        store.remove_edge(first_id, second_id, opposite.value)
        store.write_edges([Edge(first_id, second_id, kind.value, reason, now, now + lifetime)])
    compute_clusters(now=now)
