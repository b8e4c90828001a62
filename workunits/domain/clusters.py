"""Who may be one party: owners are grouped into clusters by reasons to think so, called edges.

No two of one cluster get the same unit, nobody of a cluster audits another of it, and a cluster does at most a share of
a batch. A network that two owners share is never a reason by itself: neighbours, companies and mobile carriers share
networks too.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

# An edge ends so long after it was last seen; an operator's own lasts as long as he says.
EDGE_LIFETIME: Final = timedelta(days=30)
# A network is forgotten so long after the owner's cars last called from it.
NETWORK_KEPT: Final = timedelta(days=30)
# How far apart the registrations of owners on one network may be to be an edge, while at most `CROWD` owners share it.
REGISTRATION_WINDOW: Final = timedelta(hours=24)
CROWD: Final = 10
# The key that networks are hashed with changes this often; hashes made with different keys have nothing in common.
KEY_DAYS: Final = 30
PREFIX_HASH_BYTES: Final = 16
_V4_BITS, _V6_BITS = 24, 48
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def network_prefix(address: str) -> str:
    """Return the /24 or /48 of an address or network as text; empty where it says nothing about who calls.

    That is: loopback, private, link-local, shared by a carrier's NAT (100.64.0.0/10), any other that is not routed on
    the Internet, and what is no address at all.
    """
    try:
        found: Address = ipaddress.ip_network(address, strict=False).network_address
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.teredo or found in _NAT64:
            return ""
        found = found.ipv4_mapped or found.sixtofour or found
    if not found.is_global or found.is_multicast:
        return ""
    bits = _V4_BITS if isinstance(found, ipaddress.IPv4Address) else _V6_BITS
    return str(ipaddress.ip_network(f"{found}/{bits}", strict=False))


def hash_prefix(prefix: str, *, key: bytes, unix_days: int) -> bytes:
    """Return a prefix as it is stored, hashed with the key of its month (`unix_days`: whole days since 1970)."""
    month = (unix_days // KEY_DAYS).to_bytes(4, "big")
    month_key = hmac.digest(key, b"network prefix" + month, hashlib.sha256)
    return hmac.digest(month_key, prefix.encode("ascii"), hashlib.sha256)[:PREFIX_HASH_BYTES]


def registration_window(owners_on_network: int) -> timedelta:
    """Return how far apart two registrations on one network may be to be an edge between their owners.

    On a crowded network (a carrier's gateway) registrations of strangers follow each other closely. The window shrinks
    as the crowd grows, so that the chance of an edge between strangers stays the same, while many registrations in one
    go are an edge however many there are.
    """
    return REGISTRATION_WINDOW * min(1.0, CROWD / max(1, owners_on_network))


def find_clusters(edges: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return each owner's cluster, named by the least owner id in it; owners without an edge are left out."""
    parent: dict[int, int] = {}

    def root_of(owner_id: int) -> int:
        root = owner_id
        while (above := parent.setdefault(root, root)) != root:
            root = above
        while parent[owner_id] != root:
            parent[owner_id], owner_id = root, parent[owner_id]
        return root

    for first, second in edges:
        one, other = root_of(first), root_of(second)
        parent[max(one, other)] = min(one, other)
    return {owner_id: root_of(owner_id) for owner_id in parent}


def batch_share_max(cluster_count: int, share_ratio: float) -> float:
    """Return which share of a batch one cluster may do, given how many clusters have cars at work.

    With few clusters it is twice an equal share: half of them may then leave, and the rest can still do all.
    """
    return min(1.0, max(share_ratio, 2.0 / max(1, cluster_count)))
