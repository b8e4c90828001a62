"""Batches, their running totals, and the shards they were cut into."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from workunits.domain.audits.levels import ADVERSARIAL_SHARE_DEFAULT, Finality, VerificationLevel
from workunits.domain.states import BATCH_TERMINAL, BatchOutcome, BatchStatus
from workunits.models.accounts import Project
from workunits.models.catalog import Dataset, OnnxModel
from workunits.models.identifiers import PublicIdField, make_batch_id


def _choices(values: type[BatchStatus | BatchOutcome]) -> list[tuple[str, str]]:
    return [(member.value, member.value.replace("_", " ")) for member in values]


class Batch(models.Model):
    """One model over one dataset.

    `level` says how its results are verified; `quorum` is the number of outputs that have to agree where the level is
    `quorum`, 3 where it is `critical`, else 1. `adversarial_share` is f, assumed for the bound that is shown.
    `result_revision` counts how often finished files were taken back because rows in them were revoked.

    `lane` is the hash partition (0 to 15) that holds its units and replicas. `contract` is what a car is told of the
    work, in wire form. `unit_rows` and the price are fixed when it is split. `capped_owner_ids`: whose cluster holds
    its share of the batch for now; they get re-runs of it, and no new units.
    """

    public_id = PublicIdField(default=make_batch_id)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="batches")
    model = models.ForeignKey(OnnxModel, on_delete=models.PROTECT, related_name="batches")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="batches")
    lane = models.SmallIntegerField(default=-1)
    status = models.CharField(max_length=16, choices=_choices(BatchStatus), default=BatchStatus.QUEUED.value)
    outcome = models.CharField(max_length=8, choices=_choices(BatchOutcome), null=True, blank=True)
    status_reason = models.CharField(max_length=300, default="", blank=True)
    quorum = models.SmallIntegerField(default=2)
    level = models.CharField(
        max_length=16,
        choices=[(each.value, each.value) for each in VerificationLevel],
        default=VerificationLevel.QUORUM.value,
        db_default=VerificationLevel.QUORUM.value,
    )
    adversarial_share = models.FloatField(default=ADVERSARIAL_SHARE_DEFAULT, db_default=ADVERSARIAL_SHARE_DEFAULT)
    finality = models.CharField(
        max_length=16,
        choices=[(each.value, each.value) for each in Finality],
        default=Finality.FINAL.value,
        db_default=Finality.FINAL.value,
    )
    result_revision = models.IntegerField(default=0, db_default=0)
    capped_owner_ids = ArrayField(models.IntegerField(), default=list, db_default=[], editable=False)
    priority = models.SmallIntegerField(default=0)
    contract = models.JSONField(default=dict)
    memory_bytes = models.BigIntegerField()
    opset = models.IntegerField()
    unit_rows = models.IntegerField(default=0)
    unit_target_seconds = models.FloatField()
    price_per_row_microcredits = models.BigIntegerField()
    rows_total = models.BigIntegerField()
    units_total = models.IntegerField(default=0)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finalizing_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    result_parquet = models.CharField(max_length=64, default="", blank=True)
    result_npz = models.CharField(max_length=64, default="", blank=True)

    class Meta:
        db_table = "batch"
        verbose_name_plural = "batches"
        constraints = [
            models.CheckConstraint(name="batch_quorum_1_to_5", condition=Q(quorum__gte=1, quorum__lte=5)),
            models.CheckConstraint(name="batch_price_positive", condition=Q(price_per_row_microcredits__gt=0)),
            models.CheckConstraint(
                name="batch_ended_has_time_and_outcome",
                condition=Q(
                    status__in=[status.value for status in BATCH_TERMINAL],
                    ended_at__isnull=False,
                    outcome__isnull=False,
                )
                | (
                    ~Q(status__in=[status.value for status in BATCH_TERMINAL])
                    & Q(ended_at__isnull=True, outcome__isnull=True)
                ),
            ),
        ]
        indexes = [
            models.Index(
                name="batch_running",
                fields=["priority", "id"],
                condition=~Q(status__in=[status.value for status in BATCH_TERMINAL]),
            ),
            models.Index(name="batch_by_project", fields=["project", "-id"]),
            # Their rows may still be audited.
            models.Index(
                name="batch_completed_early",
                fields=["id"],
                condition=Q(status=BatchStatus.COMPLETED.value, finality=Finality.PROVISIONAL.value),
            ),
        ]

    def __str__(self) -> str:
        return self.public_id


class BatchProgress(models.Model):
    """Running totals of a batch: the one row that its verdicts lock, so that they follow each other by number.

    `settled_verdict_number` is the watermark up to which earning items and revocations of them are in the ledger,
    `released_verdict_number` the one up to which final ones are released. Rows that are validated and not final are
    provisional.
    """

    batch = models.OneToOneField(Batch, primary_key=True, on_delete=models.CASCADE, related_name="progress")
    units_open = models.IntegerField(default=0)
    units_validated = models.IntegerField(default=0)
    units_failed = models.IntegerField(default=0)
    units_cancelled = models.IntegerField(default=0)
    rows_validated = models.BigIntegerField(default=0)
    rows_failed = models.BigIntegerField(default=0)
    rows_cancelled = models.BigIntegerField(default=0)
    verdict_number = models.IntegerField(default=0)
    settled_verdict_number = models.IntegerField(default=0)
    released_verdict_number = models.IntegerField(default=0, db_default=0)
    units_final = models.IntegerField(default=0, db_default=0)
    rows_final = models.BigIntegerField(default=0, db_default=0)
    rows_revoked = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        db_table = "batch_progress"
        verbose_name_plural = "batch progress"
        constraints = [
            models.CheckConstraint(
                name="batch_progress_never_negative", condition=Q(units_open__gte=0, units_validated__gte=0)
            ),
            models.CheckConstraint(
                name="batch_progress_settled_in_order",
                condition=Q(settled_verdict_number__lte=F("verdict_number")),
            ),
            models.CheckConstraint(
                name="batch_progress_released_in_order",
                condition=Q(released_verdict_number__lte=F("verdict_number")),
            ),
            models.CheckConstraint(
                name="batch_progress_final_rows_are_validated",
                condition=Q(rows_final__gte=0, rows_final__lte=F("rows_validated"), units_final__gte=0),
            ),
        ]


class Shard(models.Model):
    """A block of dataset rows in one blob: its units' safetensors documents, back to back."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="shards")
    number = models.IntegerField()
    blob_sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    row_start = models.BigIntegerField()
    row_end = models.BigIntegerField()

    class Meta:
        db_table = "shard"
        constraints = [
            models.UniqueConstraint(name="shard_numbered_once", fields=["batch", "number"]),
            models.CheckConstraint(name="shard_has_rows", condition=Q(row_end__gt=F("row_start"))),
        ]
