"""Models and datasets of a project."""

from __future__ import annotations

from django.db.models import QuerySet

from workunits.models import Dataset, OnnxModel


def list_models(project_id: int) -> QuerySet[OnnxModel]:
    """Return the project's models with their blobs."""
    return OnnxModel.objects.filter(project_id=project_id).select_related("blob")


def list_datasets(project_id: int) -> QuerySet[Dataset]:
    """Return the project's datasets with their blobs."""
    return Dataset.objects.filter(project_id=project_id).select_related("blob")
