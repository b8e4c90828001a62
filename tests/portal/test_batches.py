"""`/batches`: a researcher's batches."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone


@pytest.fixture
def researcher(db) -> Client:
    from workunits.pipeline.accounts import ensure_user

    client = Client()
    client.force_login(ensure_user(username="rita", email="rita@example.org"))
    return client


def test_only_ones_own_projects_are_shown(researcher, db) -> None:
    from tests.engine.factories import make_batch
    from workunits.models import User

    mine, other = make_batch(units=4, rows=2), make_batch()
    mine.project.members.add(User.objects.get(username="rita"))
    page = researcher.get("/batches").content.decode()
    assert mine.public_id in page
    assert "0 of 8 rows" in page
    assert other.public_id not in page
    assert researcher.get(f"/batches/{other.public_id}").status_code == 404


def test_a_batch_shows_its_counts(researcher, db) -> None:
    from tests.engine.factories import NOW, Car, make_batch
    from workunits.models import User
    from workunits.pipeline.validate import validate_ready

    batch = make_batch(units=4, rows=2, quorum=1)
    batch.project.members.add(User.objects.get(username="rita"))
    car = Car()
    car.lease(2)
    car.report_all()
    validate_ready(now=NOW)
    page = researcher.get(f"/batches/{batch.public_id}")
    assert (page.context["counts"].succeeded, page.context["counts"].pending, page.context["percent"]) == (4, 4, 50)
    assert 'aria-valuemax="8" aria-valuenow="4"' in page.content.decode()


def test_an_audited_batch_shows_its_level_bound_audits_and_notices_and_its_rows_sum(researcher, db) -> None:
    from tests.engine.audit_rows import make_audited_batch, put_replica
    from tests.engine.factories import NOW, Car
    from workunits.models import AnchorMachine, BatchNotice, BatchProgress, User
    from workunits.pipeline.validate import validate_ready
    from workunits.store.anchors import note_machine

    batch = make_audited_batch("strict", units=6)
    batch.project.members.add(User.objects.get(username="rita"))
    for unit in range(3):
        put_replica(batch, unit=unit, drawn=unit == 0)
    validate_ready(now=NOW)
    Car().lease(1)
    BatchProgress.objects.filter(batch=batch).update(rows_final=2, rows_revoked=37)
    BatchNotice.objects.create(batch=batch, at=NOW, code="rows_revoked", text="37 rows were <taken> back")
    note_machine("desk", timezone.now())
    page = researcher.get(f"/batches/{batch.public_id}")
    counts, finality = page.context["counts"], page.context["finality"]
    assert (finality.final, finality.provisional, counts.running, counts.pending) == (2, 4, 2, 4)
    assert finality.final + finality.provisional == counts.succeeded
    bar = [(part["name"], part["start"], part["width"]) for part in page.context["bar"]]
    assert bar == [("final", 0, 166), ("provisional", 166, 334), ("ended", 500, 0)]
    text = " ".join(page.content.decode().split())
    assert "37 rows were &lt;taken&gt; back" in text
    assert "at most 0.01 % of its final results" in text
    assert "never a guarantee for one batch" in text
    assert "<dt>Audits under way</dt><dd>1</dd>" in text
    assert "Rows were taken back 37 times" in text
    assert "No anchor" not in text

    AnchorMachine.objects.all().delete()
    text = " ".join(researcher.get(f"/batches/{batch.public_id}").content.decode().split())
    assert "is there just now to run the first results of new cars again" in text
    assert "the bound is that of audit factor 19 instead of 500" in text
    assert "at most 0.26 % of its final results" in text


def test_a_batch_that_the_fleet_cannot_serve_says_what_it_waits_for(researcher, db) -> None:
    from tests.engine.factories import make_batch
    from workunits.models import BatchNotice, User
    from workunits.selectors.verification import forget_parties

    forget_parties()
    batch = make_batch(units=1, quorum=5)
    batch.project.members.add(User.objects.get(username="rita"))
    for number in range(5):
        BatchNotice.objects.create(batch=batch, at=timezone.now(), code="x", text=f"notice {number}")
    text = " ".join(researcher.get(f"/batches/{batch.public_id}").content.decode().split())
    assert "A row needs cars of 5 owners who are not known to belong together" in text
    assert "nothing is lost" in text
    # The newest notices stand out; the others can be opened.
    assert text.index("notice 2") < text.index("Older notices") < text.index("notice 1")


def test_somebody_without_cars_lands_on_the_batches(researcher) -> None:
    answer = researcher.get("/")
    assert (answer.status_code, answer["Location"]) == (302, "/batches")
