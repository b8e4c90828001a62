"""outputs/{token}: tus 1.0, from the first part to the reported replica, and each refusal."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.engine.factories import honest_output, lease_seconds, make_batch, make_owner, rows_of
from tests.vehicle_api.signed_car import SignedCar, commitment, idle_sync, problem
from workunits.pipeline.recover import expire_overdue_leases

OUTPUT = honest_output()


@pytest.fixture
def committed(car):
    """A lease whose output is committed but not here."""
    make_batch(units=1)
    lease = car.lease()[0]
    car.verified(car.sync(idle_sync(commitments=[commitment(lease, OUTPUT, inline=False)])))
    return lease


def patch(car, token, offset, data, **headers):
    return car.request(
        "PATCH",
        f"outputs/{token}",
        data,
        content_type="application/offset+octet-stream",
        Upload_Offset=str(offset),
        **headers,
    )


def states():
    return [row["state"] for row in rows_of("replica")]


def test_an_output_sent_in_two_parts_is_reported(car, committed):
    token = committed["token"]
    first = patch(car, token, 0, OUTPUT[:30])
    assert (first.status_code, first["Upload-Offset"], first["Tus-Resumable"]) == (204, "30", "1.0.0")
    head = car.request("HEAD", f"outputs/{token}")
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("30", str(len(OUTPUT)))
    assert states() == ["COMMITTED"]
    checksum = base64.b64encode(hashlib.sha256(OUTPUT[30:]).digest()).decode()
    assert patch(car, token, 30, OUTPUT[30:], Upload_Checksum=f"sha256 {checksum}").status_code == 204
    assert states() == ["REPORTED"]
    assert rows_of("replica")[0]["output_blob"] == hashlib.sha256(OUTPUT).hexdigest()
    assert len(rows_of("review")) == 1


def test_repeating_the_last_part_answers_as_the_first_time(car, committed):
    token = committed["token"]
    patch(car, token, 0, OUTPUT)
    again = patch(car, token, 0, OUTPUT)
    assert (again.status_code, again["Upload-Offset"]) == (204, str(len(OUTPUT)))
    assert len(rows_of("review")) == 1


def test_other_bytes_than_committed_are_refused_and_the_upload_may_start_again(car, committed):
    token = committed["token"]
    assert problem(patch(car, token, 0, honest_output(2, 5.0))) == (422, "output_digest_mismatch")
    assert states() == ["COMMITTED"]
    assert car.request("HEAD", f"outputs/{token}")["Upload-Offset"] == "0"
    assert patch(car, token, 0, OUTPUT).status_code == 204
    assert states() == ["REPORTED"]


def test_committed_bytes_that_are_not_what_the_contract_asks_for_are_malformed(car):
    make_batch(units=1)
    lease = car.lease()[0]
    wrong = honest_output(3)
    car.sync(idle_sync(commitments=[commitment(lease, wrong, inline=False)]))
    assert problem(patch(car, lease["token"], 0, wrong)) == (422, "output_malformed")
    assert states() == ["COMMITTED"]


def test_a_wrong_offset_a_wrong_checksum_and_too_many_bytes_change_nothing(car, committed):
    token = committed["token"]
    assert problem(patch(car, token, 7, OUTPUT[7:])) == (409, "upload_offset_conflict")
    assert problem(patch(car, token, 0, OUTPUT, Upload_Checksum="sha256 AAAA")) == (460, "output_digest_mismatch")
    assert problem(patch(car, token, 0, OUTPUT + b"x")) == (413, "output_too_large")
    assert problem(patch(car, token, 0, bytes(1024 * 1024 + 1))) == (413, "body_too_large")
    assert car.request("HEAD", f"outputs/{token}")["Upload-Offset"] == "0"
    assert states() == ["COMMITTED"]


def test_uploads_without_a_commitment_or_by_another_car_are_refused(car, committed):
    thief = SignedCar(make_owner(), "thief")
    assert problem(patch(thief, committed["token"], 0, OUTPUT)) == (403, "replica_not_yours")
    assert problem(patch(car, "C" * 22, 0, OUTPUT)) == (404, "replica_unknown")
    lease = thief.lease()[0]
    assert problem(patch(thief, lease["token"], 0, OUTPUT)) == (409, "upload_not_expected")
    assert sorted(states()) == ["COMMITTED", "LEASED"]


def test_an_upload_after_the_lease_expired_is_refused(car, committed):
    from datetime import timedelta

    from django.utils import timezone

    assert expire_overdue_leases(now=timezone.now() + timedelta(seconds=lease_seconds() + 11)) == 1
    assert problem(patch(car, committed["token"], 0, OUTPUT)) == (410, "lease_expired")
    assert states() == ["EXPIRED"]


@pytest.mark.parametrize("offset", ["9" * 5000, "-1", "1e3", ""])
def test_an_offset_that_is_no_number_is_malformed(car, committed, offset):
    assert problem(patch(car, committed["token"], offset, OUTPUT)) == (400, "malformed_request")


def test_a_patch_without_its_headers_is_malformed(car, committed):
    answer = car.request("PATCH", f"outputs/{committed['token']}", OUTPUT)
    assert problem(answer) == (400, "malformed_request")
