"""Every table is in the console; no row of engine or money can be edited; no list counts a whole table."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

EDITABLE = {"User", "Group", "Project"}


@pytest.fixture
def operator(db) -> Client:
    from workunits.pipeline.accounts import ensure_user

    client = Client()
    client.force_login(ensure_user(username="op", email="op@example.org", is_operator=True))
    return client


@pytest.fixture
def worked(db):
    """A batch with every kind of row below it."""
    from tests.console.scenes import make_dispute, put_commits
    from tests.engine.factories import NOW, Car, make_batch
    from workunits.pipeline.credit import settle_credit
    from workunits.pipeline.validate import validate_ready

    batch = make_batch(units=3, quorum=1)
    car = Car()
    leases = car.lease(3)
    car.hand_back(leases[0], is_error=True, reason="run_failed")
    car.report_all()
    validate_ready(now=NOW)
    settle_credit(now=NOW)
    # Among its rows are an anchor's, of owner 0 and vehicle 0.
    dispute = make_dispute()
    put_commits(dispute.honest, dispute.batch, 3)
    return batch


def test_every_table_is_registered() -> None:
    from django.apps import apps

    Client().get("/console/")  # loads the addresses, and with them the console
    models = {*apps.get_app_config("workunits").get_models(), *apps.get_app_config("api").get_models()}
    through = {model for model in models if model._meta.auto_created}
    assert models - through - set(admin.site._registry) == set()


def test_every_list_and_row_opens_and_nothing_can_be_edited(operator, worked) -> None:
    for model, section in admin.site._registry.items():
        path = f"/console/{model._meta.app_label}/{model._meta.model_name}/"
        page = operator.get(path)
        assert page.status_code == 200, path
        assert operator.get(path, {"q": "bat_nothing"}).status_code == 200, path
        row = section.get_queryset(page.wsgi_request).first()
        if row is not None:
            assert operator.get(f"{path}{row.pk}/change/").status_code == 200, path
        if model.__name__ not in EDITABLE:
            request = page.wsgi_request
            assert not section.has_add_permission(request), path
            assert not section.has_change_permission(request), path
            assert not section.has_delete_permission(request), path
            assert operator.get(f"{path}add/").status_code == 403, path
            if row is not None:
                assert operator.post(f"{path}{row.pk}/change/", {}).status_code == 403, path
                assert operator.post(f"{path}{row.pk}/delete/", {"post": "yes"}).status_code == 403, path


@pytest.mark.parametrize("table", ["unit", "replica", "earningitem", "unitevent"])
def test_a_hot_row_is_found_by_the_parts_of_its_id(operator, worked, table) -> None:
    row = next(
        section.get_queryset(operator.get("/console/").wsgi_request).first()
        for model, section in admin.site._registry.items()
        if model._meta.model_name == table
    )
    assert row is not None
    with CaptureQueriesContext(connection) as captured:
        assert operator.get(f"/console/workunits/{table}/{row.pk}/change/").status_code == 200
    lookups = [query["sql"] for query in captured if f'FROM "{row._meta.db_table}"' in query["sql"]]
    assert lookups
    assert all(f'"batch_id" = {worked.pk}' in sql for sql in lookups)
    assert str(row.pk) in operator.get(f"/console/workunits/{table}/", {"q": worked.public_id}).content.decode()
    assert str(row.pk) in operator.get(f"/console/workunits/{table}/", {"q": str(worked.pk)}).content.decode()
    for wrong in ("x", "1:x:1", "1", "99999999999999999999:1:1", f"{worked.pk}:99:99"):
        assert operator.get(f"/console/workunits/{table}/{wrong}/change/").status_code in (302, 404)


@pytest.mark.parametrize("table", ["unit", "replica", "earningitem", "unitevent"])
def test_a_hot_list_is_bounded_and_in_key_order(operator, worked, table) -> None:
    with CaptureQueriesContext(connection) as captured:
        operator.get(f"/console/workunits/{table}/")
    reads = [query["sql"] for query in captured if "_view" in query["sql"]]
    counts = [sql for sql in reads if "COUNT(" in sql]
    rows = [sql for sql in reads if sql not in counts and "DISTINCT" not in sql]
    assert counts
    assert all("LIMIT 10000" in sql for sql in counts)
    assert rows
    assert all("ORDER BY" in sql and sql.split("ORDER BY")[1].split()[0].endswith('"batch_id"') for sql in rows)


def test_a_list_costs_the_same_for_one_row_as_for_many(operator, worked) -> None:
    from tests.engine.factories import make_batch

    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            operator.get("/console/workunits/batch/")
        return len(captured)

    before = statements()
    for _ in range(5):
        make_batch()
    assert statements() == before


def test_strangers_and_owners_do_not_get_in(db) -> None:
    from workunits.pipeline.accounts import ensure_user

    assert Client().get("/console/").status_code == 302
    client = Client()
    client.force_login(ensure_user(username="olga", email="o@example.org"))
    assert client.get("/console/workunits/transfer/").status_code == 302


@pytest.mark.parametrize(
    ("model", "query", "found"),
    [("replica", {"role": "1"}, 2), ("audit", {"level": "2"}, 2), ("vehicletrust", {"level": "2"}, 0)],
)
def test_filters_of_large_tables_do_not_look_through_all_rows_for_their_values(
    operator, worked, model, query, found
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    path = f"/console/workunits/{model}/"
    with CaptureQueriesContext(connection) as statements:
        page = operator.get(path, query)
    assert not [each["sql"] for each in statements if "DISTINCT" in each["sql"]]
    assert len(page.context["cl"].result_list) == found
    assert operator.get(path, {next(iter(query)): "x"}).status_code == 200
