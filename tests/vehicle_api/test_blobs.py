"""GET blobs/{sha256}: only what a live lease names, in ranges."""

from __future__ import annotations

import pytest

from tests.engine.factories import make_batch, make_owner
from tests.vehicle_api.signed_car import SignedCar, idle_sync, problem
from workunits.models import OnnxModel, Shard
from workunits.store.blobs import get_blob_store, record_blob

DATA = bytes(range(256))


@pytest.fixture
def lease(car):
    batch = make_batch(units=1)
    stored = get_blob_store().put_bytes(DATA)
    from django.utils import timezone

    record_blob(stored, timezone.now())
    Shard.objects.filter(batch=batch).update(blob_sha256=stored.sha256)
    OnnxModel.objects.filter(id=batch.model_id).update(blob=stored.sha256)
    return car.lease()[0]


def body(response):
    return b"".join(response.streaming_content)


def test_a_leased_blob_is_sent_whole_or_in_part(car, lease):
    sha256 = lease["input"]["sha256"]
    whole = car.request("GET", f"blobs/{sha256}")
    assert (whole.status_code, whole["ETag"], whole["Accept-Ranges"]) == (200, f'"{sha256}"', "bytes")
    assert body(whole) == DATA
    part = car.request("GET", f"blobs/{sha256}", Range="bytes=16-31")
    assert (part.status_code, part["Content-Range"], part["Content-Length"]) == (206, "bytes 16-31/256", "16")
    assert body(part) == DATA[16:32]
    assert body(car.request("GET", f"blobs/{sha256}", Range="bytes=-4")) == DATA[-4:]
    assert body(car.request("GET", f"blobs/{sha256}", Range="bytes=250-999")) == DATA[250:]


def test_a_blob_that_the_car_has_is_not_sent_again(car, lease):
    sha256 = lease["input"]["sha256"]
    assert car.request("GET", f"blobs/{sha256}", If_None_Match=f'"{sha256}"').status_code == 304


def test_a_range_outside_the_blob_is_refused_with_its_size(car, lease):
    refused = car.request("GET", f"blobs/{lease['input']['sha256']}", Range="bytes=256-")
    assert problem(refused) == (416, "range_not_satisfiable")
    assert refused["Content-Range"] == "bytes */256"


def test_a_blob_without_a_live_lease_is_not_there(car, lease):
    sha256 = lease["input"]["sha256"]
    assert problem(SignedCar(make_owner(), "other").request("GET", f"blobs/{sha256}")) == (404, "blob_not_leased")
    assert problem(car.request("GET", f"blobs/{'0' * 64}")) == (404, "blob_not_leased")
    assert problem(car.request("GET", "blobs/..%2f..%2fetc")) == (404, "not_found")
    assert problem(car.request("GET", "blobs/nul")) == (404, "blob_not_leased")
    back = {"token": lease["token"], "kind": "returned", "reason": "driving", "detail": ""}
    car.verified(car.sync(idle_sync(returned=[back])))
    assert problem(car.request("GET", f"blobs/{sha256}")) == (404, "blob_not_leased")


def test_an_unsigned_request_for_a_blob_is_refused(car, lease):
    assert problem(car.http.get(f"/api/vehicle/v1/blobs/{lease['input']['sha256']}")) == (401, "signature_missing")
