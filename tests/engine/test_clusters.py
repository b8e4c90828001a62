"""Clusters of owners, from networks and operators' word, and the share of a batch that one of them may do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.engine.factories import NOW, Car, make_batch, make_owner, make_vehicle, rows_of
from workunits.domain.clusters import registration_window
from workunits.models import Audit, Batch, ClusterEdge, Owner, OwnerCluster, OwnerNetwork, Vehicle, VehiclePresence
from workunits.pipeline import clusters
from workunits.pipeline.clusters import (
    OwnerUnknown,
    SameOwner,
    cap_batches,
    compute_clusters,
    link_owners,
    link_payouts,
    note_network,
    part_owners,
)
from workunits.selectors.clusters import list_frequent_pairs
from workunits.store.board import read_open_batches
from workunits.store.clusters import count_active_clusters

pytestmark = pytest.mark.django_db
HOME, OFFICE = "8.8.4.4", "9.9.9.9"


@pytest.fixture(autouse=True)
def process_without_memory() -> Iterator[None]:
    clusters._noted.clear()
    yield
    clusters._noted.clear()


def registered(*, hours: float = 0.0) -> Owner:
    owner = make_owner()
    Owner.objects.filter(id=owner.id).update(created_at=NOW - timedelta(days=100) + timedelta(hours=hours))
    return owner


def clustered() -> dict[int, int]:
    return dict(OwnerCluster.objects.values_list("owner_id", "cluster_id"))


def edges() -> list[tuple[int, int, str]]:
    return list(ClusterEdge.objects.order_by("first_id", "second_id").values_list("first_id", "second_id", "kind"))


def days(count: float) -> datetime:
    return NOW + timedelta(days=count)


def test_owners_who_share_a_network_only_stand_alone():
    first, second = registered(), registered(hours=25)
    for owner in (first, second):
        assert note_network(owner.id, HOME, NOW)
    assert compute_clusters(now=NOW) == 0
    assert (edges(), clustered()) == ([], {})


def test_owners_who_registered_within_a_day_and_share_no_network_stand_alone():
    first, second = registered(), registered(hours=1)
    note_network(first.id, HOME, NOW)
    note_network(second.id, OFFICE, NOW)
    assert compute_clusters(now=NOW) == 0
    assert edges() == []


def test_owners_who_registered_within_a_day_on_one_network_are_one_cluster():
    first, second, third = registered(), registered(hours=24), registered(hours=47)
    for owner, address in ((first, "8.8.4.1"), (second, "8.8.4.200"), (third, "8.8.4.77")):
        note_network(owner.id, address, NOW)
    assert compute_clusters(now=NOW) == 3
    assert edges() == [
        (first.id, second.id, "network_and_time"),
        (second.id, third.id, "network_and_time"),
    ]
    assert set(clustered().values()) == {first.id}
    assert set(ClusterEdge.objects.values_list("expires_at", flat=True)) == {NOW + timedelta(days=30)}


def test_cars_with_one_installations_mark_are_one_cluster_only_on_one_network():
    owners = [registered(hours=100 * index) for index in range(3)]
    for owner, address in zip(owners, (HOME, HOME, OFFICE), strict=True):
        vehicle = make_vehicle(owner)
        VehiclePresence.objects.filter(vehicle=vehicle).update(instance="a" * 64)
        note_network(owner.id, address, NOW)
    assert compute_clusters(now=NOW) == 2
    assert edges() == [(owners[0].id, owners[1].id, "network_and_instance")]


def test_on_a_crowded_network_the_window_is_as_narrow_as_the_rule_says():
    window_hours = registration_window(40).total_seconds() / 3600
    owners = [registered(hours=index * (window_hours + 0.01)) for index in range(39)]
    twin = registered(hours=38 * (window_hours + 0.01) + window_hours)
    for owner in (*owners, twin):
        note_network(owner.id, HOME, NOW)
    assert compute_clusters(now=NOW) == 2
    assert edges() == [(owners[-1].id, twin.id, "network_and_time")]


def test_an_edge_ends_thirty_days_after_it_was_last_seen_and_the_cluster_parts():
    first, second = registered(), registered(hours=1)
    for day in (0, 1.5):
        note_network(first.id, HOME, days(day))
        note_network(second.id, HOME, days(day))
    assert compute_clusters(now=days(2)) == 2
    note_network(first.id, HOME, days(20))  # the other is not there any more
    assert compute_clusters(now=days(31)) == 2
    assert compute_clusters(now=days(31.5)) == 0
    assert (edges(), clustered()) == ([], {})
    compute_clusters(now=days(31.6))
    assert list(OwnerNetwork.objects.values_list("owner_id", flat=True)) == [first.id]


def test_computing_twice_changes_nothing():
    first, second = registered(), registered(hours=1)
    for owner in (first, second):
        note_network(owner.id, HOME, NOW)
    compute_clusters(now=NOW)
    before = list(OwnerCluster.objects.order_by("owner_id").values())
    compute_clusters(now=NOW + timedelta(hours=1))
    assert list(OwnerCluster.objects.order_by("owner_id").values()) == before


def test_a_network_is_written_once_a_day_and_owner_and_one_that_tells_nothing_never():
    owner = registered()
    with CaptureQueriesContext(connection) as queries:
        assert note_network(owner.id, HOME, NOW)
        assert not note_network(owner.id, HOME, NOW + timedelta(hours=23))
        assert not note_network(owner.id, OFFICE, NOW + timedelta(hours=23))
        assert note_network(owner.id, HOME, NOW + timedelta(hours=24))
        for address in ("127.0.0.1", "10.0.0.1", "100.64.1.1", "fe80::/64", ""):
            assert not note_network(make_owner().id, address, NOW) or pytest.fail(address)
    assert sum("owner_network" in query["sql"] for query in queries) == 2
    (row,) = OwnerNetwork.objects.all()
    assert (row.first_seen_at, row.last_seen_at) == (NOW, NOW + timedelta(hours=24))
    assert b"8.8.4" not in bytes(row.prefix_hash)


def test_an_operator_joins_owners_and_holds_others_apart():
    first, second, third = (registered(hours=100 * index) for index in range(3))
    link_owners(first.id, second.id, reason="one household", now=NOW)
    link_owners(third.id, second.id, reason="one household", now=NOW, lifetime=timedelta(days=10))
    assert clustered() == dict.fromkeys((first.id, second.id, third.id), first.id)
    part_owners(second.id, first.id, reason="they appealed", now=NOW)
    assert clustered() == dict.fromkeys((second.id, third.id), second.id)
    compute_clusters(now=days(10))
    assert clustered() == {}


def test_owners_held_apart_are_not_joined_by_a_network():
    first, second = registered(), registered(hours=1)
    part_owners(first.id, second.id, reason="a company's cars", now=NOW)
    for owner in (first, second):
        note_network(owner.id, HOME, NOW)
    assert compute_clusters(now=NOW) == 0
    assert len(edges()) == 2


def test_an_operator_cannot_join_an_owner_with_himself_or_with_nobody():
    owner = registered()
    with pytest.raises(SameOwner):
        link_owners(owner.id, owner.id, reason="", now=NOW)
    with pytest.raises(OwnerUnknown):
        link_owners(owner.id, owner.id + 1_000_000, reason="", now=NOW)
    assert edges() == []


def test_owners_paid_to_one_account_are_one_cluster():
    first, second = registered(), registered(hours=100)
    link_payouts([(second.id, first.id)], now=NOW)
    assert compute_clusters(now=NOW) == 2
    assert edges() == [(first.id, second.id, "payout")]


def met(batch: Batch, primary: Car, auditor: Car, times: int, *, reason: str = "drawn") -> None:
    Audit.objects.bulk_create(
        Audit(
            batch=batch,
            unit_number=number,
            vehicle=primary.vehicle,
            owner_id=primary.owner_id,
            sequence=number + 1,
            level=2,
            weight_microcredits=1,
            reason=reason,
            needs="car",
            state="passed",
            created_at=NOW,
            opens_at=NOW,
            resolved_at=NOW,
            auditor_vehicle_id=auditor.vehicle.id,
            auditor_owner_id=auditor.owner_id,
        )
        for number in range(times)
    )


def test_pairs_that_meet_far_more_often_than_chance_explains_are_shown_to_operators():
    batch = make_batch()
    friend, partner, *others = (Car() for _ in range(12))
    met(batch, friend, partner, 3)
    met(batch, partner, friend, 3)
    met(batch, friend, partner, 5, reason="auditing")  # the other side of an audit that is counted already
    for one, other in zip(others, others[1:] + others[:1], strict=True):
        met(batch, one, other, 1)
    met(batch, others[0], others[5], 3)
    (pair,) = list_frequent_pairs(now=NOW + timedelta(days=1))
    assert {pair.first, pair.second} == {friend.vehicle.owner.public_id, partner.vehicle.owner.public_id}
    # Six of the nineteen audits; each of the two has six of their thirty-eight sides.
    assert pair.audits == 6
    assert pair.expected == pytest.approx(6 * 6 / 38)
    assert list_frequent_pairs(now=NOW + timedelta(days=31)) == []


def test_a_cluster_is_active_while_one_of_its_cars_may_work_and_was_heard_of():
    owners = [registered(hours=100 * index) for index in range(5)]
    for index, owner in enumerate(owners):
        VehiclePresence.objects.filter(vehicle=make_vehicle(owner)).update(
            eligible=index != 3, last_seen_at=NOW - timedelta(minutes=61 if index == 4 else 10)
        )
    assert count_active_clusters(NOW) == 3
    link_owners(owners[0].id, owners[1].id, reason="friends", now=NOW)
    assert count_active_clusters(NOW) == 2
    Vehicle.objects.filter(owner=owners[2]).update(status="revoked", revoked_at=NOW)
    assert count_active_clusters(NOW) == 1


def active_fleet(count: int) -> list[Car]:
    cars = [Car() for _ in range(count)]
    VehiclePresence.objects.update(eligible=True, last_seen_at=NOW)
    return cars


def capped(batch: Batch) -> list[int]:
    batch.refresh_from_db()
    return batch.capped_owner_ids


def test_a_cluster_that_holds_its_share_gets_no_new_unit_and_others_do():
    batch = make_batch(units=100, quorum=1)
    friend, other, *rest = active_fleet(21)
    partner = rest[0]
    link_owners(friend.owner_id, partner.owner_id, reason="friends", now=NOW)  # 20 clusters: a tenth each
    friend.lease(6)
    partner.lease(3)
    assert cap_batches(now=NOW) == 0
    partner.lease(1)
    assert cap_batches(now=NOW) == 1
    assert capped(batch) == sorted((friend.owner_id, partner.owner_id))
    assert read_open_batches()[0].capped_owner_ids == {friend.owner_id, partner.owner_id}
    assert (friend.lease(1), partner.lease(1)) == ([], [])
    assert len(other.lease(5)) == 5
    assert cap_batches(now=NOW) == 0  # nothing to change


def test_handed_back_work_frees_the_share():
    batch = make_batch(units=100, quorum=1)
    car = active_fleet(20)[0]
    first, *_ = car.lease(10)
    cap_batches(now=NOW)
    assert capped(batch) == [car.owner_id]
    car.hand_back(first)
    cap_batches(now=NOW)
    assert capped(batch) == []
    assert len(car.lease(1)) == 1


def test_a_small_fleet_has_no_cap():
    batch = make_batch(units=100, quorum=1)
    first, _ = active_fleet(2)
    first.lease(100)
    assert cap_batches(now=NOW) == 0
    assert capped(batch) == []


def test_a_batch_whose_work_stands_still_has_nobody_capped():
    batch = make_batch(units=100, quorum=1)
    cars = active_fleet(20)
    cars[0].lease(50)
    cap_batches(now=NOW)
    assert capped(batch) == [cars[0].owner_id]
    cap_batches(now=NOW + timedelta(minutes=10))
    assert capped(batch) == [cars[0].owner_id]
    VehiclePresence.objects.update(last_seen_at=NOW + timedelta(minutes=10))
    cap_batches(now=NOW + timedelta(minutes=10, seconds=1))
    assert capped(batch) == []
    assert len(cars[0].lease(1, at=NOW + timedelta(minutes=11))) == 1
    cap_batches(now=NOW + timedelta(minutes=11, seconds=10))
    assert capped(batch) == [cars[0].owner_id]


def test_a_share_is_counted_in_places_where_units_need_several_outputs():
    batch = make_batch(units=100, quorum=3)
    car = active_fleet(20)[0]
    car.lease(29)
    cap_batches(now=NOW)
    assert capped(batch) == []
    car.lease(1)
    cap_batches(now=NOW)
    assert capped(batch) == [car.owner_id]


@pytest.mark.slow
def test_the_share_of_a_large_batch_is_estimated_from_a_sample_of_bounded_size():
    batch = make_batch(units=100_000, quorum=1)
    cars = active_fleet(40)
    greedy, modest = cars[0], cars[1]
    with connection.cursor() as cursor:
        # A tenth to one, a fiftieth to the other, spread as the secret order spreads them.
        cursor.execute(
            "INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at)"
            " SELECT %s, n, CASE WHEN hashint4(n) %% 5 = 0 THEN %s ELSE %s END, 1, 2, %s, %s"
            " FROM generate_series(0, 99999) AS n WHERE hashint4(n) %% 5 = 0 OR hashint4(n) %% 50 = 1",
            [batch.id, greedy.owner_id, modest.owner_id, NOW, NOW + timedelta(hours=1)],
        )
        cursor.execute("ANALYZE replica")
    with CaptureQueriesContext(connection) as queries:
        cap_batches(now=NOW)
    assert capped(batch) == [greedy.owner_id]
    statement = next(query["sql"] for query in queries if "turned" in query["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    read = [line for line in plan.splitlines() if " on replica_" in line and "never executed" not in line]
    assert [line.split(" on ")[0].strip(" ->") for line in read] == [f"Index Scan using replica_{batch.lane}_pkey"], (
        plan
    )


def test_the_command_lists_links_and_unlinks(capsys: pytest.CaptureFixture[str]):
    first, second = registered(), registered(hours=100)
    call_command("clusters", "link", first.public_id, second.public_id, "--reason", "one household")
    call_command("clusters", "list")
    printed = capsys.readouterr().out
    assert first.public_id in printed
    assert "operator: one household" in printed
    assert clustered() == {first.id: first.id, second.id: first.id}
    call_command("clusters", "unlink", first.public_id, second.public_id, "--reason", "they moved")
    assert clustered() == {}
    call_command("clusters", "list")
    assert "apart: they moved" in capsys.readouterr().out
    with pytest.raises(CommandError, match="no owner"):
        call_command("clusters", "link", first.public_id, "own_nobody", "--reason", "x")


def test_a_lease_of_a_batch_that_its_owner_is_capped_in_is_a_rerun_or_nothing():
    batch = make_batch(units=3, quorum=1)
    car = Car()
    Batch.objects.filter(id=batch.id).update(capped_owner_ids=[car.owner_id])
    assert car.lease(3) == []
    with connection.cursor() as cursor:
        cursor.execute("UPDATE unit SET urgent = true WHERE batch_id = %s AND number = 1", [batch.id])
    assert [lease.replica.ref.unit_number for lease in car.lease(3)] == [1]
    assert [row["unit_number"] for row in rows_of("replica", batch_id=batch.id)] == [1]
