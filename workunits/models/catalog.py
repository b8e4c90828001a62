"""What researchers bring: blobs by content, admitted ONNX models, datasets."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from workunits.models.accounts import Project
from workunits.models.identifiers import PublicIdField, make_dataset_id, make_model_id


class Blob(models.Model):
    """Bytes in the blob store, named by their SHA-256 (64 hex digits)."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size_bytes = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "blob"
        constraints = [
            models.CheckConstraint(name="blob_size_not_negative", condition=Q(size_bytes__gte=0)),
            models.CheckConstraint(name="blob_named_by_sha256", condition=Q(sha256__regex=r"^[0-9a-f]{64}$")),
        ]

    def __str__(self) -> str:
        return self.sha256[:12]


class OnnxModel(models.Model):
    """An admitted ONNX model: a row exists only after every check and the dry run passed.

    `inputs`: `[{"name", "dtype", "shape"}]`, one row each (no leading row dimension).
    `outputs`: the same plus `"comparator"`, `"tolerance"` (0: exact) and perhaps `"options"`, as
    docs/reference/comparators.md has them; the tolerance is the cap, or what was stated: see `ModelTolerance`.
    `flops_per_row` is counted after graph optimisation; `memory_bytes` is the dry run's peak at `batch_rows` rows.
    """

    public_id = PublicIdField(default=make_model_id)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="models")
    name = models.CharField(max_length=120)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    opset = models.IntegerField()
    operators = ArrayField(models.CharField(max_length=80))
    inputs = models.JSONField()
    outputs = models.JSONField()
    batch_rows = models.IntegerField()
    flops_per_row = models.BigIntegerField()
    memory_bytes = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "model"
        verbose_name = "model"
        constraints = [
            models.CheckConstraint(name="model_flops_positive", condition=Q(flops_per_row__gt=0)),
            models.CheckConstraint(name="model_memory_positive", condition=Q(memory_bytes__gt=0)),
            models.CheckConstraint(name="model_batch_rows_positive", condition=Q(batch_rows__gt=0)),
        ]

    def __str__(self) -> str:
        return self.name


class Dataset(models.Model):
    """An immutable table of rows, kept as the file it came in.

    `columns`: `[{"name", "dtype", "shape"}]` of the columns a model can take (fixed shape, numeric).
    """

    class Format(models.TextChoices):
        """The container it came in."""

        PARQUET = "parquet"
        NPZ = "npz"

    public_id = PublicIdField(default=make_dataset_id)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="datasets")
    name = models.CharField(max_length=120)
    format = models.CharField(max_length=16, choices=Format.choices)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    rows = models.BigIntegerField()
    columns = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "dataset"
        constraints = [models.CheckConstraint(name="dataset_has_rows", condition=Q(rows__gt=0))]

    def __str__(self) -> str:
        return self.name
