"""The API's own description: OpenAPI 3.1 at `/api/v1/openapi.json`, the same as a page at `/api/v1/docs`.

Written by hand from one table of operations, because the answers are plain dictionaries; a test walks the addresses and
the document side by side and checks real answers against its schemas.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from fleetcompute.api.problems import PROBLEMS
from fleetcompute.api.research.schemas import COMPONENTS, DATASET_OPTIONS, MODEL_OPTIONS, Schema, ref

PREFIX: Final = "/api/v1"


class Operation(NamedTuple):
    """One method of one address."""

    method: str
    path: str
    summary: str
    scope: str
    answer: str = ""
    status: int = 200
    query: dict[str, Schema] | None = None
    required: tuple[str, ...] = ()
    body: str = ""  # a component for JSON, `file` for an upload whose options are the query's
    problems: tuple[str, ...] = ()


_PAGE: Final[dict[str, Schema]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
    "after": {"type": "string", "description": "`next_cursor` of the page before"},
}
_UPLOAD: Final = ("length_required", "body_too_large", "digest_mismatch", "malformed_request", "unsupported_media_type")

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation("get", "/me", "Who am I: project, key, scopes", "", "Me"),
    Operation("get", "/models", "List models, newest first", "models:read", "ModelPage", query=_PAGE),
    Operation(
        "post",
        "/models",
        "Examine and register an ONNX model",
        "models:write",
        "Model",
        201,
        MODEL_OPTIONS,
        ("name",),
        "file",
        ("model_refused", *_UPLOAD),
    ),
    Operation("get", "/models/{id}", "Read a model", "models:read", "Model", problems=("model_unknown",)),
    Operation("get", "/datasets", "List datasets, newest first", "batches:read", "DatasetPage", query=_PAGE),
    Operation(
        "post",
        "/datasets",
        "Check and register a Parquet or NPZ dataset",
        "datasets:write",
        "Dataset",
        201,
        DATASET_OPTIONS,
        ("name", "format"),
        "file",
        ("dataset_refused", *_UPLOAD),
    ),
    Operation("get", "/datasets/{id}", "Read a dataset", "batches:read", "Dataset", problems=("dataset_unknown",)),
    Operation(
        "get",
        "/batches",
        "List batches, newest first",
        "batches:read",
        "BatchPage",
        query={**_PAGE, "status": {"type": "string"}},
    ),
    Operation(
        "post",
        "/batches",
        "Run a model over a dataset (honours Idempotency-Key)",
        "batches:write",
        "Batch",
        202,
        body="BatchRequest",
        problems=(
            "model_unknown",
            "dataset_unknown",
            "dataset_mismatch",
            "idempotency_key_reused",
            "malformed_request",
        ),
    ),
    Operation(
        "get", "/batches/{id}", "Read a batch (ETag, Retry-After)", "batches:read", "Batch", problems=("batch_unknown",)
    ),
    Operation("get", "/batches/{id}/progress", "Live counts", "batches:read", "Progress", problems=("batch_unknown",)),
    Operation(
        "post",
        "/batches/{id}/pause",
        "Lease nothing new",
        "batches:write",
        "Batch",
        problems=("batch_unknown", "batch_state_conflict"),
    ),
    Operation(
        "post",
        "/batches/{id}/resume",
        "Lease again",
        "batches:write",
        "Batch",
        problems=("batch_unknown", "batch_state_conflict"),
    ),
    Operation(
        "post",
        "/batches/{id}/cancel",
        "End a batch; rows that are done stay",
        "batches:write",
        "Batch",
        problems=("batch_unknown", "batch_state_conflict"),
    ),
    Operation(
        "get",
        "/batches/{id}/units",
        "List work units in input order",
        "batches:read",
        "UnitPage",
        query=_PAGE,
        problems=("batch_unknown",),
    ),
    Operation(
        "get",
        "/batches/{id}/units/{number}",
        "Read a work unit and its replicas' history",
        "batches:read",
        "UnitDetail",
        problems=("batch_unknown", "unit_unknown"),
    ),
    Operation(
        "get",
        "/batches/{id}/results",
        "The result file, in part while the batch runs (Range, ETag; Fleet-Result, Fleet-Rows)",
        "results:read",
        query={"format": {"enum": ["parquet", "npz"], "default": "parquet"}},
        problems=("batch_unknown", "results_not_ready", "results_unavailable", "range_not_satisfiable"),
    ),
)


@cache
def build_document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(PREFIX + operation.path, {})[operation.method] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "FleetCompute research API",
            "version": "1",
            "description": "Batch inference of ONNX models on parked electric cars.",
        },
        "paths": paths,
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer", "description": "fleet_sk_live_…"}},
        },
        "security": [{"api_key": []}],
    }


def openapi_json(_request: HttpRequest) -> HttpResponse:
    """Send the document."""
    return HttpResponse(orjson.dumps(build_document()), content_type="application/json")


def docs(request: HttpRequest) -> HttpResponse:
    """Show the document as a page, with nothing loaded from elsewhere."""
    context = {"prefix": PREFIX, "operations": OPERATIONS, "host": request.build_absolute_uri("/").rstrip("/")}
    return render(request, "api_docs.html", context)


def _describe(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.method}_{operation.path.strip('/').translate(str.maketrans('/', '_', '{}'))}",
        "summary": operation.summary,
        "description": f"Scope: `{operation.scope}`." if operation.scope else "Any API key.",
        "parameters": _parameters(operation),
        "responses": _responses(operation),
    }
    if operation.body:
        described["requestBody"] = {"required": True, "content": _body(operation)}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer" if name == "number" else "string"}}
        for name in in_path
    ]
    for name, schema in (operation.query or {}).items():
        parameters.append({"name": name, "in": "query", "required": name in operation.required, "schema": schema})
    if operation.path == "/batches" and operation.method == "post":
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}})
    return parameters


def _body(operation: Operation) -> dict[str, Any]:
    if operation.body != "file":
        return {"application/json": {"schema": ref(operation.body)}}
    form: dict[str, Any] = {"type": "object", "required": ["file", *operation.required]}
    form["properties"] = {**(operation.query or {}), "file": {"type": "string", "format": "binary"}}
    return {"application/octet-stream": {}, "multipart/form-data": {"schema": form}}


def _responses(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": ref(operation.answer)}} if operation.answer else {}
    if operation.path.endswith("/results"):
        content = {"application/vnd.apache.parquet": {}, "application/octet-stream": {}}
    responses: dict[str, Any] = {str(operation.status): {"description": "Done", "content": content}}
    if operation.path.endswith("/results"):
        responses["206"] = {"description": "The range that was asked for", "content": content}
    codes = (
        "api_key_missing",
        "api_key_invalid",
        "scope_missing",
        "rate_limited",
        "invalid_request",
        *operation.problems,
    )
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    for status, named in sorted(by_status.items()):
        responses[str(status)] = {
            "description": ", ".join(named),
            "content": {"application/problem+json": {"schema": ref("Problem")}},
        }
    return responses
