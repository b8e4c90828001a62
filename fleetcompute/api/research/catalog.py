"""`/me`, `/models`, `/datasets`: who calls, and what was brought."""

from __future__ import annotations

from typing import Any, ClassVar

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from fleetcompute.api.authentication import Caller
from fleetcompute.api.pagination import newest_first
from fleetcompute.api.research.bodies import UPLOAD_PARSERS, received_file
from fleetcompute.api.research.present import present_dataset, present_datasets, present_model, present_models
from fleetcompute.api.research.serializers import DatasetOptions, ModelOptions
from fleetcompute.api.research.views import ResearchView
from workunits.pipeline import intake
from workunits.sandbox.report import AdmissionLimits
from workunits.selectors import catalog

MODEL_BYTES_MAX = AdmissionLimits().model_bytes_max


class MeView(ResearchView):
    """`GET /me`: the first call of every quickstart."""

    scopes: ClassVar[dict[str, str]] = {}

    def get(self, request: Request) -> Response:
        """Return the key's project and scopes."""
        caller: Any = request.user
        key = caller.key if isinstance(caller, Caller) else None
        assert key is not None  # HasScope has let through nothing else
        return Response(
            {
                "object": "me",
                "project": {"id": key.project.public_id, "name": key.project.name},
                "api_key": {"id": key.public_id, "name": key.name, "prefix": key.prefix, "expires_at": key.expires_at},
                "scopes": key.scopes,
                "environment": "live",
            }
        )


class ModelsView(ResearchView):
    """`POST /models` examines and stores a model; `GET /models` lists them."""

    parser_classes = UPLOAD_PARSERS
    scopes: ClassVar[dict[str, str]] = {"GET": "models:read", "POST": "models:write"}

    def get(self, request: Request) -> Response:
        """Return a page of models, newest first."""
        return Response(newest_first(request, catalog.list_models(self.project_id_of(request)), present_models))

    def post(self, request: Request) -> Response:
        """Admit a model; 422 with every reason when it is refused."""
        with received_file(request, bytes_max=MODEL_BYTES_MAX) as received:
            options = ModelOptions(data=received.options)
            options.is_valid(raise_exception=True)
            given = options.validated_data
            model = intake.admit_model(
                project_id=self.project_id_of(request),
                name=given["name"],
                path=received.path,
                fixed_dims=given["fixed_dims"],
                batch_rows=given["batch_rows"],
                outputs_override=given["outputs"],
                now=timezone.now(),
            )
        return Response(present_model(model), status=201, headers={"Location": f"/api/v1/models/{model.public_id}"})


class ModelView(ResearchView):
    """`GET /models/{id}`."""

    scopes: ClassVar[dict[str, str]] = {"GET": "models:read"}

    def get(self, request: Request, public_id: str) -> Response:
        """Return one model."""
        model = catalog.list_models(self.project_id_of(request)).filter(public_id=public_id).first()
        if model is None:
            raise intake.ModelUnknown
        return Response(present_model(model))


class DatasetsView(ResearchView):
    """`POST /datasets` checks and stores a dataset; `GET /datasets` lists them."""

    parser_classes = UPLOAD_PARSERS
    # There is no scope for reading datasets alone: who may order a batch or bring data may see what there is.
    scopes: ClassVar[dict[str, str]] = {"GET": "batches:read", "POST": "datasets:write"}

    def get(self, request: Request) -> Response:
        """Return a page of datasets, newest first."""
        return Response(newest_first(request, catalog.list_datasets(self.project_id_of(request)), present_datasets))

    def post(self, request: Request) -> Response:
        """Register a dataset; 422 naming column and row when it is refused."""
        with received_file(request, bytes_max=intake.DATASET_BYTES_MAX) as received:
            options = DatasetOptions(data=received.options)
            options.is_valid(raise_exception=True)
            dataset = intake.register_dataset(
                project_id=self.project_id_of(request),
                name=options.validated_data["name"],
                format=options.validated_data["format"],
                path=received.path,
                now=timezone.now(),
            )
        location = {"Location": f"/api/v1/datasets/{dataset.public_id}"}
        return Response(present_dataset(dataset), status=201, headers=location)


class DatasetView(ResearchView):
    """`GET /datasets/{id}`."""

    scopes: ClassVar[dict[str, str]] = {"GET": "batches:read"}

    def get(self, request: Request, public_id: str) -> Response:
        """Return one dataset."""
        dataset = catalog.list_datasets(self.project_id_of(request)).filter(public_id=public_id).first()
        if dataset is None:
            raise intake.DatasetUnknown
        return Response(present_dataset(dataset))
