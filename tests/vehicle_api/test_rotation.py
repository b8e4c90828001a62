"""pair/rotate: a car renews its key; who is not that car does not."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, transaction

from fleetclient.signing import RequestSigner, rotation_proof
from tests.engine.factories import make_owner
from tests.vehicle_api.signed_car import AUTHORITY, SignedCar, problem
from workunits.models import Vehicle, VehiclePresence


def key_of(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def rotate(car: SignedCar, new: Ed25519PrivateKey, *, old: bytes | None = None, vehicle_id: str = "", **changes: str):
    proof = rotation_proof(new, vehicle_id=vehicle_id or car.vehicle.public_id, old_key=old or public(car.key))
    document = {"public_key": public(new).hex(), "proof": proof.hex(), **changes}
    return car.request("POST", "pair/rotate", json.dumps(document).encode(), content_type="application/json")


def use(car: SignedCar, key: Ed25519PrivateKey) -> None:
    car.key = key
    car.signer = RequestSigner(private_key=key, key_id=car.vehicle.public_id, authority=AUTHORITY)


def keys(car: SignedCar) -> tuple[bytes, bytes | None]:
    vehicle = Vehicle.objects.get(id=car.vehicle.id)
    previous = vehicle.previous_public_key
    return bytes(vehicle.public_key), None if previous is None else bytes(previous)


def test_the_new_key_takes_over_and_the_old_one_is_of_no_other_use(car):
    old, new = car.key, key_of("new")
    answer = rotate(car, new)
    assert answer.status_code == 200
    assert answer.json() == {"vehicle_id": car.vehicle.public_id, "public_key": public(new).hex()}
    assert keys(car) == (public(new), public(old))
    assert problem(car.sync()) == (401, "signature_invalid")
    use(car, new)
    assert car.sync().status_code == 200


def test_a_car_whose_answer_was_lost_asks_again_with_the_old_key_and_is_answered_as_the_first_time(car):
    new = key_of("new")
    first, again = rotate(car, new), rotate(car, new)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content
    assert Vehicle.objects.get(id=car.vehicle.id).rotated_at is not None
    use(car, new)
    assert car.sync().status_code == 200


def test_the_old_key_can_only_repeat_its_rotation(car):
    rotate(car, key_of("new"))
    before = keys(car)
    assert problem(rotate(car, key_of("thief's"))) == (409, "sync_conflict")
    assert keys(car) == before


def test_a_rotation_that_was_overheard_cannot_be_replayed(car):
    first, second = key_of("first"), key_of("second")
    rotate(car, first)
    use(car, first)
    captured = car.counter
    rotate(car, second)
    before = keys(car)
    car.counter = captured  # the very same request again
    assert rotate(car, second).status_code == 200, "answered as the first time"
    assert keys(car) == before
    use(car, second)
    rotate(car, key_of("third"))
    before = keys(car)
    use(car, first)
    car.counter = captured
    assert problem(rotate(car, second)) == (401, "signature_invalid")
    assert keys(car) == before


def test_an_old_counter_is_refused_and_nothing_changes(car):
    car.sync()
    before = keys(car)
    car.counter -= 1
    assert problem(rotate(car, key_of("new"))) == (409, "counter_replayed")
    assert keys(car) == before
    assert rotate(car, key_of("new")).status_code == 200


@pytest.mark.parametrize(
    "forge",
    [
        lambda car, new: rotate(car, new, vehicle_id="veh_another"),
        lambda car, new: rotate(car, new, old=bytes(32)),
        lambda car, new: rotate(car, new, proof="00" * 64),
        lambda car, new: rotate(car, new, proof=rotation_proof(
            car.key, vehicle_id=car.vehicle.public_id, old_key=public(car.key)).hex()),
        lambda car, new: rotate(car, new, public_key=public(key_of("somebody's")).hex()),
        lambda car, _new: rotate(car, car.key),
    ],
)  # fmt: skip
def test_a_wrong_proof_changes_nothing(car, forge):
    before, counter = keys(car), VehiclePresence.objects.get(vehicle=car.vehicle).counter
    assert problem(forge(car, key_of("new"))) == (422, "rotation_proof_invalid")
    assert keys(car) == before
    assert VehiclePresence.objects.get(vehicle=car.vehicle).counter == counter


@pytest.mark.parametrize(
    "change",
    [{"public_key": "00"}, {"public_key": "zz" * 32}, {"proof": "00"}, {"proof": ""}],
)
def test_a_malformed_request_is_named_and_changes_nothing(car, change):
    before = keys(car)
    response = rotate(car, key_of("new"), **change)
    assert problem(response) == (400, "malformed_request")
    assert next(iter(change)) in response.json()["detail"]
    assert keys(car) == before


def test_another_cars_key_cannot_be_taken(car):
    other = SignedCar(make_owner(), "other")
    before = keys(car)
    assert problem(rotate(car, other.key)) == (409, "key_already_paired")
    assert keys(car) == before
    assert VehiclePresence.objects.get(vehicle=car.vehicle).counter == 0


def test_a_removed_car_renews_nothing(car):
    from django.utils import timezone

    from workunits.pipeline.enrol import revoke_vehicle

    revoke_vehicle(vehicle_id=car.vehicle.id, owner_id=car.vehicle.owner_id, now=timezone.now())
    before = keys(car)
    assert problem(rotate(car, key_of("new"))) == (403, "vehicle_revoked")
    assert keys(car) == before


def test_a_car_that_renews_all_the_time_has_to_wait(car, monkeypatch):
    from fleetcompute.api.vehicle import pairing

    monkeypatch.setattr(pairing, "count_call", lambda _: (pairing.ROTATIONS_PER_WINDOW + 1, 7))
    before = keys(car)
    assert problem(rotate(car, key_of("new"))) == (429, "rate_limited")
    assert keys(car) == before


def test_only_post_renews(car):
    assert problem(car.request("GET", "pair/rotate")) == (405, "method_not_allowed")


@pytest.mark.django_db(transaction=True)
def test_of_two_rotations_at_once_one_wins_whole():
    car = SignedCar(make_owner(), "racing")
    news = [key_of("one"), key_of("two")]
    requests = []
    for new in news:
        car.counter += 1
        proof = rotation_proof(new, vehicle_id=car.vehicle.public_id, old_key=public(car.key))
        requests.append((new, proof, car.counter))
    barrier, answers = threading.Barrier(2), []

    def go(new, proof, counter):
        from workunits.domain.errors import FleetError
        from workunits.pipeline.identity import rotate_key
        from workunits.store.vehicles import find_vehicle

        vehicle = find_vehicle(car.vehicle.public_id)
        assert vehicle is not None
        barrier.wait()
        from django.utils import timezone

        try:
            rotate_key(
                vehicle=vehicle, signed_with=public(car.key), new_key=public(new), counter=counter, now=timezone.now()
            )
            answers.append((public(new), "taken"))
        except FleetError as error:
            answers.append((public(new), error.code))
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=each) for each in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = sorted(code for _, code in answers)
    assert outcomes in (["sync_conflict", "taken"], ["counter_replayed", "taken"])
    (winner,) = [key for key, code in answers if code == "taken"]
    assert keys(car) == (winner, public(car.key))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by", ["rotation", "pairing"])
def test_a_key_that_becomes_another_cars_in_the_same_moment_is_refused_by_name(by):
    """The look whether it is free comes too early: only the unique column knows."""
    from django.utils import timezone

    from workunits.pipeline.enrol import KeyAlreadyPaired, approve_pairing, start_pairing
    from workunits.pipeline.identity import NewKeyTaken, rotate_key
    from workunits.store.vehicles import find_vehicle

    new, car, now = public(key_of("new")), SignedCar(make_owner(), "racing"), timezone.now()
    known = find_vehicle(car.vehicle.public_id)
    assert known is not None
    started = start_pairing(public_key=new, car_name="other", agent="a", now=now)
    taken, owner, vehicles = threading.Event(), make_owner(), Vehicle.objects.count()

    def take_first():
        with transaction.atomic():
            Vehicle.objects.create(owner=owner, name="first", public_key=new)
            taken.set()
            with connection.cursor() as cursor:
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
                for _ in range(1000):
                    cursor.execute(waiting)
                    if cursor.fetchone()[0]:
                        break
                    cursor.execute("SELECT pg_sleep(0.01)")
        connection.close()

    thread = threading.Thread(target=take_first)
    thread.start()
    taken.wait()
    try:
        if by == "rotation":
            with pytest.raises(NewKeyTaken):
                rotate_key(vehicle=known, signed_with=public(car.key), new_key=new, counter=1, now=now)
        else:
            with pytest.raises(KeyAlreadyPaired):
                approve_pairing(
                    user_code=started.user_code, match_number=started.match_number, owner_id=owner.id, now=now
                )
    finally:
        thread.join()
    assert keys(car) == (public(car.key), None)
    assert VehiclePresence.objects.get(vehicle=car.vehicle).counter == 0
    assert Vehicle.objects.count() == vehicles + 1
