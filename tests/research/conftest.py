"""A project with a key, and a caller that speaks to the API as a program does."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

if TYPE_CHECKING:
    from workunits.models import Project

_numbers = itertools.count(1)


class Caller:
    """Calls `/api/v1` with a key."""

    def __init__(self, key: str, project: Project) -> None:
        self.client, self.key, self.project = Client(), key, project

    def get(self, path: str, query: dict[str, Any] | None = None, **headers: str) -> Any:
        return self.client.get(f"/api/v1{path}", query or {}, headers=self._headers(headers))

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.client.post(
            f"/api/v1{path}", body if body is not None else {}, "application/json", headers=self._headers(headers)
        )

    def upload(self, path: str, data: bytes, query: dict[str, Any], **headers: str) -> Any:
        return self.client.post(
            f"/api/v1{path}",
            data,
            "application/octet-stream",
            query_params=query,
            headers=self._headers(headers),
        )

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"Authorization": f"Bearer {self.key}", **named}


@pytest.fixture
def make_caller(db: None) -> Callable[..., Caller]:
    def make(scopes: tuple[str, ...] | None = None) -> Caller:
        from django.utils import timezone

        from workunits.models import Project
        from workunits.pipeline.accounts import create_api_key
        from workunits.selectors.keys import SCOPES

        project = Project.objects.create(name=f"project {next(_numbers)}")
        key = create_api_key(project_id=project.pk, name="test", scopes=scopes or SCOPES, now=timezone.now())
        return Caller(key.secret, project)

    return make


@pytest.fixture
def caller(make_caller: Callable[..., Caller]) -> Caller:
    return make_caller()


@functools.cache
def _admit_once(data: bytes, request: str) -> Any:
    from workunits.sandbox.admit import admit
    from workunits.sandbox.report import AdmissionRequest

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return admit(Path(file.name), AdmissionRequest.from_json(request))


@pytest.fixture
def ordered(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A model and a dataset of ten rows that fit each other. The model is examined once a session."""
    from workunits.pipeline import intake

    monkeypatch.setattr(intake, "admit", lambda path, request: _admit_once(path.read_bytes(), request.to_json()))
    from tests.research.onnx_files import linear_bytes, npz_bytes

    model = caller.upload("/models", linear_bytes(), {"name": "linear"})
    dataset = caller.upload("/datasets", npz_bytes(), {"name": "ten rows", "format": "npz"})
    assert (model.status_code, dataset.status_code) == (201, 201), (model.content, dataset.content)
    return {"model": model.json()["id"], "dataset": dataset.json()["id"]}
