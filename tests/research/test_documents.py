"""The API describes itself, and says what it does."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from django.test import Client

from tests.research.onnx_files import linear_bytes, npz_bytes


def document() -> dict[str, Any]:
    return Client().get("/api/v1/openapi.json").json()  # type: ignore[no-any-return]


def check(answer: Any, component: str) -> None:
    schema = {"$ref": f"#/components/schemas/{component}", "components": document()["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer)


def test_every_address_is_described_and_nothing_else() -> None:
    from fleetcompute.api.research.urls import urlpatterns

    routes = {re.sub(r"<public_id:public_id>", "{id}", str(entry.pattern)) for entry in urlpatterns}
    routes = {re.sub(r"<int:number>", "{number}", route) for route in routes}
    described = {path.removeprefix("/api/v1/") for path in document()["paths"]}
    assert described == routes - {"openapi.json", "docs"}
    assert document()["openapi"] == "3.1.0"


def test_methods_are_those_of_the_views() -> None:
    from fleetcompute.api.research.urls import urlpatterns

    for entry in urlpatterns:
        view = getattr(entry.callback, "view_class", None)
        if view is not None:
            route = re.sub(r"<int:number>", "{number}", re.sub(r"<public_id:public_id>", "{id}", str(entry.pattern)))
            methods = {name for name in ("get", "post", "put", "patch", "delete") if hasattr(view, name)}
            assert set(document()["paths"][f"/api/v1/{route}"]) == methods


def test_answers_are_as_described(caller) -> None:
    model = caller.upload("/models", linear_bytes(), {"name": "m"}).json()
    dataset = caller.upload("/datasets", npz_bytes(), {"name": "d", "format": "npz"}).json()
    batch = caller.post("/batches", {"model": model["id"], "dataset": dataset["id"]}).json()
    check(caller.get("/me").json(), "Me")
    check(model, "Model")
    check(dataset, "Dataset")
    check(batch, "Batch")
    check(caller.get(f"/batches/{batch['id']}/progress").json(), "Progress")
    check(caller.get("/batches").json(), "BatchPage")
    check(caller.get(f"/batches/{batch['id']}/units").json(), "UnitPage")
    check(caller.get("/models/mod_none").json(), "Problem")
    check(caller.post("/batches", {}).json(), "Problem")


def test_the_page_lists_every_operation_and_loads_nothing_from_elsewhere() -> None:
    page = Client().get("/api/v1/docs").content.decode()
    for path in document()["paths"]:
        assert path in page
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)


def test_every_problem_type_has_its_page() -> None:
    from fleetcompute.api.problems import PROBLEMS

    for code in PROBLEMS:
        assert Client().get(f"/problems/{code}").status_code == 200
    assert Client().get("/problems").status_code == 200
    assert Client().get("/problems/no_such_code").status_code == 404


def test_every_error_of_the_engine_is_in_the_table() -> None:
    import workunits.tasks  # noqa: F401  (imports every stage)
    from fleetcompute.api.problems import PROBLEMS
    from workunits.domain.errors import FleetError

    def codes(kind: type[FleetError]) -> set[str]:
        return {kind.code}.union(*(codes(child) for child in kind.__subclasses__()))

    assert codes(FleetError) - set(PROBLEMS) == set()


@pytest.mark.parametrize(("path", "body"), [("/healthz", {"status": "ok"})])
def test_health_answers_without_services(path, body) -> None:
    assert Client().get(path).json() == body


def test_readiness_names_the_services(db) -> None:
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()) == (
        200, {"status": "ok", "database": "ok", "cache": "ok", "blob_store": "ok"},
    )  # fmt: skip


def test_readiness_says_which_service_is_down(db, monkeypatch) -> None:
    from fleetcompute import health

    monkeypatch.setattr(health, "get_blob_store", lambda: None)
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["blob_store"], answer.json()["database"]) == (503, "down", "ok")
