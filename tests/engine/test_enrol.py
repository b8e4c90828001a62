"""Enrol: the device authorization grant, from the code on the screen to the paired vehicle."""

from __future__ import annotations

import pytest

from tests.engine.factories import NOW, later, make_owner, make_vehicle
from workunits.models import DevicePairing, Vehicle, VehiclePresence
from workunits.pipeline import enrol
from workunits.pipeline.recover import forget_old_pairings

pytestmark = pytest.mark.django_db
KEY = bytes(range(32))


def start(key: bytes = KEY):
    return enrol.start_pairing(public_key=key, car_name="Blue", agent="test", now=NOW)


def approve(started, owner, *, now=NOW, **changes):
    told = {"user_code": started.user_code, "match_number": started.match_number, **changes}
    return enrol.approve_pairing(owner_id=owner.id, now=now, **told)


def test_a_pairing_ends_with_a_vehicle_of_the_owner_that_approved_its_code():
    owner, started = make_owner(), start()
    with pytest.raises(enrol.AuthorizationPending):
        enrol.poll_pairing(device_code=started.device_code, now=NOW)
    typed = started.user_code.lower().replace("-", " ")
    approved = approve(started, owner, user_code=typed)
    polled = enrol.poll_pairing(device_code=started.device_code, now=later(10))
    assert polled == approved == enrol.poll_pairing(device_code=started.device_code, now=later(11))
    assert (polled.owner_id, polled.name, bytes(polled.public_key)) == (owner.id, "Blue", KEY)
    assert VehiclePresence.objects.get(vehicle=polled).counter == 0


def test_asking_too_often_is_answered_with_slow_down_and_a_longer_interval():
    started = start()
    for error in (enrol.AuthorizationPending, enrol.SlowDown):
        with pytest.raises(error):
            enrol.poll_pairing(device_code=started.device_code, now=later(1))
    assert DevicePairing.objects.get().interval_seconds == started.interval_seconds + 5


def test_a_denied_or_expired_code_makes_no_vehicle():
    denied = start()
    enrol.deny_pairing(user_code=denied.user_code, now=NOW)
    with pytest.raises(enrol.AccessDenied):
        enrol.poll_pairing(device_code=denied.device_code, now=NOW)
    old = start()
    with pytest.raises(enrol.PairingExpired):
        approve(old, make_owner(), now=later(600))
    with pytest.raises(enrol.PairingExpired):
        enrol.poll_pairing(device_code=old.device_code, now=later(600))
    assert Vehicle.objects.count() == 0


def test_pairings_that_came_to_nothing_are_forgotten_a_day_later():
    approved, abandoned = start(), start()
    approve(approved, make_owner())
    assert forget_old_pairings(now=later(86_400)) == 0
    assert forget_old_pairings(now=later(86_400 + 601)) == 1
    assert DevicePairing.objects.get().user_code == approved.user_code
    with pytest.raises(enrol.PairingUnknown):
        enrol.poll_pairing(device_code=abandoned.device_code, now=NOW)


def test_a_code_can_be_answered_once():
    started = start()
    owner = make_owner()
    approve(started, owner)
    with pytest.raises(enrol.PairingUnknown):
        approve(started, owner)
    assert Vehicle.objects.count() == 1


def test_a_key_that_is_a_vehicles_already_cannot_be_paired_again():
    vehicle = make_vehicle()
    with pytest.raises(enrol.KeyAlreadyPaired):
        start(bytes(vehicle.public_key))
    first, second = start(), start()
    approve(first, vehicle.owner)
    with pytest.raises(enrol.KeyAlreadyPaired):
        approve(second, vehicle.owner)


def test_a_wrong_number_refuses_the_car_and_its_code_is_of_no_use_any_more():
    owner, started = make_owner(), start()
    wrong = next(number for number in enrol.MATCH_NUMBERS if number != started.match_number)
    with pytest.raises(enrol.MatchNumberWrong):
        approve(started, owner, match_number=wrong)
    with pytest.raises(enrol.PairingUnknown):
        approve(started, owner)
    with pytest.raises(enrol.AccessDenied):
        enrol.poll_pairing(device_code=started.device_code, now=NOW)
    assert Vehicle.objects.count() == 0


def test_three_different_numbers_are_offered_and_the_cars_is_at_no_certain_place():
    places = set()
    for _ in range(40):
        started = start()
        pairing = DevicePairing.objects.get(user_code=started.user_code)
        assert len(set(pairing.match_choices)) == 3
        assert all(number in enrol.MATCH_NUMBERS for number in pairing.match_choices)
        places.add(pairing.match_choices.index(started.match_number))
    assert places == {0, 1, 2}


def test_only_its_owner_can_revoke_a_vehicle_and_only_once():
    vehicle = make_vehicle()
    assert enrol.revoke_vehicle(vehicle_id=vehicle.id, owner_id=make_owner().id, now=NOW) is False
    assert enrol.revoke_vehicle(vehicle_id=vehicle.id, owner_id=vehicle.owner_id, now=NOW) is True
    assert enrol.revoke_vehicle(vehicle_id=vehicle.id, owner_id=vehicle.owner_id, now=NOW) is False
    vehicle.refresh_from_db()
    assert (vehicle.status, vehicle.revoked_at) == ("revoked", NOW)
