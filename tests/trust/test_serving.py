"""What anybody may read: the repository's files and the public log."""

from __future__ import annotations

import pytest

from tests.trust.fleet_keys import NOW, entry

pytestmark = pytest.mark.django_db


@pytest.fixture
def shown(keys):
    """A repository with two models, published as the service does it."""
    from workunits.pipeline.admission import AdmissionService

    repository = keys.started()
    for number in (1, 2):
        repository.sign([entry(repository.log.head, number)], now=NOW)
    AdmissionService(repository).run_once(clock=lambda: NOW)
    return repository


def get(client, name, **headers):
    return client.get(f"/api/vehicle/v1/trust/{name}", headers=headers)


def test_every_file_in_force_can_be_fetched_without_a_signature(client, shown):
    for name, _, _ in shown.kept.names():
        answer = get(client, name)
        assert (answer.status_code, answer.content) == (200, shown.kept.read(name)), name


def test_only_the_timestamp_has_to_be_asked_for_again(client, shown):
    assert get(client, "timestamp.json")["Cache-Control"] == "public, max-age=30"
    assert get(client, "1.root.json")["Cache-Control"] == "public, max-age=86400"
    etag = get(client, "timestamp.json")["ETag"]
    assert get(client, "timestamp.json", if_none_match=etag).status_code == 304


@pytest.mark.parametrize(
    "name", ["2.root.json", "models-1.pem", "targets/client/../../keys/models-1.pem", "%00", "x" * 400, "targets/x"]
)
def test_what_is_not_in_the_repository_is_not_found(client, shown, name):
    answer = get(client, name)
    assert answer.status_code == 404


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_nothing_can_be_written(client, shown, method):
    assert getattr(client, method)("/api/vehicle/v1/trust/timestamp.json").status_code == 405
    assert getattr(client, method)("/transparency/models").status_code in (403, 405)


def test_the_log_is_public_as_json_and_as_a_page(client, shown):
    document = client.get("/transparency/models").json()
    assert (document["count"], document["head"], document["next"]) == (2, shown.log.head.hash, None)
    assert [line["sha256"] for line in document["entries"]] == [f"{1:064x}", f"{2:064x}"]
    assert document["entries"][1]["previous"] == document["entries"][0]["hash"]
    later = client.get("/transparency/models", {"start": "1"}).json()
    assert [line["index"] for line in later["entries"]] == [1]
    for nonsense in ("-1", "x", "9" * 30):
        assert client.get("/transparency/models", {"start": nonsense}).json()["entries"][0]["index"] == 0
    page = client.get("/transparency/models", headers={"Accept": "text/html"})
    assert f"{2:064x}" in page.content.decode()


def test_an_empty_log_is_a_page_too(client):
    assert client.get("/transparency/models").json() == {"count": 0, "head": "", "entries": [], "next": None}
    assert "None yet." in client.get("/transparency/models", headers={"Accept": "text/html"}).content.decode()
