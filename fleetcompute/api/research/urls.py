"""Addresses of the researcher's API, version 1. None ends with a slash."""

from __future__ import annotations

from django.urls import path

import fleetcompute.paths  # noqa: F401  (registers the converter)
from fleetcompute.api.research import batches, catalog, documents, results

urlpatterns = [
    path("openapi.json", documents.openapi_json, name="openapi"),
    path("docs", documents.docs, name="api_docs"),
    path("me", catalog.MeView.as_view()),
    path("models", catalog.ModelsView.as_view()),
    path("models/<public_id:public_id>", catalog.ModelView.as_view()),
    path("datasets", catalog.DatasetsView.as_view()),
    path("datasets/<public_id:public_id>", catalog.DatasetView.as_view()),
    path("batches", batches.BatchesView.as_view()),
    path("batches/<public_id:public_id>", batches.BatchView.as_view()),
    path("batches/<public_id:public_id>/progress", batches.BatchProgressView.as_view()),
    path("batches/<public_id:public_id>/pause", batches.BatchPauseView.as_view()),
    path("batches/<public_id:public_id>/resume", batches.BatchResumeView.as_view()),
    path("batches/<public_id:public_id>/cancel", batches.BatchCancelView.as_view()),
    path("batches/<public_id:public_id>/units", batches.UnitsView.as_view()),
    path("batches/<public_id:public_id>/units/<int:number>", batches.UnitView.as_view()),
    path("batches/<public_id:public_id>/results", results.ResultsView.as_view()),
]
