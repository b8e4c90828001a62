"""The rules about who may be one party."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.clusters import (
    batch_share_max,
    find_clusters,
    hash_prefix,
    network_prefix,
    registration_window,
)

EDGES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)).filter(lambda pair: pair[0] != pair[1]))


@given(EDGES, st.randoms(use_true_random=False))
def test_the_order_and_direction_of_edges_do_not_matter(edges: list[tuple[int, int]], chance: random.Random):
    shuffled = [pair if chance.random() < 0.5 else pair[::-1] for pair in edges]
    chance.shuffle(shuffled)
    assert find_clusters(shuffled) == find_clusters(edges)


@given(EDGES)
def test_two_owners_are_in_one_cluster_exactly_where_a_path_of_edges_joins_them(edges: list[tuple[int, int]]):
    reached = {owner: {owner} for pair in edges for owner in pair}
    for _ in reached:
        for first, second in edges:
            joined = reached[first] | reached[second]
            for owner in joined:
                reached[owner] = reached[owner] | joined
    assert find_clusters(edges) == {owner: min(together) for owner, together in reached.items()}


@given(EDGES, st.integers(0, 29))
def test_an_edge_that_is_gone_never_makes_a_cluster_larger(edges: list[tuple[int, int]], gone: int):
    before = find_clusters(edges)
    after = find_clusters(edge for index, edge in enumerate(edges) if index != gone)
    for owner, cluster in after.items():
        together = {other for other, its in after.items() if its == cluster}
        assert all(before[other] == before[owner] for other in together)


def test_without_the_edge_between_them_two_groups_part():
    assert find_clusters([(1, 2), (2, 3), (3, 4)]) == {1: 1, 2: 1, 3: 1, 4: 1}
    assert find_clusters([(1, 2), (3, 4)]) == {1: 1, 2: 1, 3: 3, 4: 3}


def test_a_chain_of_a_hundred_thousand_owners_is_one_cluster():
    assert set(find_clusters((n, n + 1) for n in reversed(range(100_000))).values()) == {0}


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("8.8.4.4", "8.8.4.0/24"),
        ("8.8.4.200", "8.8.4.0/24"),
        ("2a01:4f8:1234:5678::/64", "2a01:4f8:1234::/48"),  # as callers are counted
        ("2a01:4f8:1234:ffff::1", "2a01:4f8:1234::/48"),
        ("::ffff:8.8.4.4", "8.8.4.0/24"),
        ("2002:808:404::1", "8.8.4.0/24"),  # 6to4 carries the IPv4 address
    ],
)
def test_a_public_address_is_known_by_its_prefix(address: str, prefix: str):
    assert network_prefix(address) == prefix


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "10.1.2.3", "172.20.0.1", "192.168.1.5", "169.254.3.4", "fe80::1", "fd00::1", "100.64.0.1",
        "100.127.255.255", "0.0.0.0", "224.0.0.5", "ff0e::1", "192.0.2.7", "64:ff9b::808:404", "2001:0:808:404::1",
        "::ffff:10.0.0.1", "2002:a00:1::1", "", "unix", "8.8.8",
    ],
)  # fmt: skip
def test_an_address_that_tells_nothing_has_no_prefix(address: str):
    assert network_prefix(address) == ""


def test_a_hash_of_a_network_depends_on_prefix_key_and_month():
    hashed = hash_prefix("8.8.4.0/24", key=b"k", unix_days=600)
    assert len(hashed) == 16
    assert hash_prefix("8.8.4.0/24", key=b"k", unix_days=629) == hashed
    others = {
        hash_prefix("8.8.5.0/24", key=b"k", unix_days=600),
        hash_prefix("8.8.4.0/24", key=b"j", unix_days=600),
        hash_prefix("8.8.4.0/24", key=b"k", unix_days=630),
    }
    assert len(others | {hashed}) == 4


def test_the_window_of_registrations_shrinks_on_a_crowded_network():
    assert registration_window(2) == registration_window(10) == timedelta(hours=24)
    assert registration_window(40) == timedelta(hours=6)
    assert registration_window(1000) == timedelta(seconds=864)


def test_the_share_of_a_cluster_is_twice_an_equal_one_while_there_are_few():
    assert [batch_share_max(count, 0.05) for count in (0, 1, 2, 4, 40, 1000)] == [1.0, 1.0, 1.0, 0.5, 0.05, 0.05]


@given(st.integers(1, 500), st.floats(0.001, 1.0))
def test_half_of_the_clusters_can_always_do_the_whole_batch(clusters: int, ratio: float):
    assert batch_share_max(clusters, ratio) * max(1, clusters / 2) >= 1.0 - 1e-9
