"""Operators' machines that run units again, and the queue of what they are to run."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from workunits.models.batches import Batch
from workunits.models.verification import Audit


class AnchorRun(models.Model):
    """A unit that an anchor is to run, or has run: the queue of operators' machines.

    Its output becomes a replica of owner 0 and vehicle 0 beside the cars' own, when the run is resolved.
    """

    class Reason(models.TextChoices):
        """Why an anchor runs it."""

        YOUNG = "young"
        DISPUTE = "dispute"
        OVERDUE = "overdue"
        CLASS = "class"
        FLOOR = "floor"
        CALIBRATION = "calibration"
        OPERATOR = "operator"

    class State(models.TextChoices):
        """Where it stands."""

        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="anchor_runs")
    unit_number = models.IntegerField()
    audit = models.ForeignKey(Audit, null=True, blank=True, on_delete=models.SET_NULL, related_name="anchor_runs")
    reason = models.CharField(max_length=16, choices=Reason.choices)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    attempts = models.IntegerField(default=0)
    created_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True, blank=True)
    claimed_by = models.CharField(max_length=120, default="", blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    comparison_class = models.CharField(max_length=120, default="", blank=True)
    seconds = models.FloatField(null=True, blank=True)
    output_digest = models.BinaryField(null=True)
    output_blob = models.CharField(max_length=64, default="", blank=True)
    error = models.CharField(max_length=300, default="", blank=True)

    class Meta:
        db_table = "anchor_run"
        constraints = [
            models.UniqueConstraint(
                name="anchor_run_one_under_way_per_unit",
                fields=["batch", "unit_number"],
                condition=Q(state__in=["waiting", "running"]),
            ),
            models.CheckConstraint(
                name="anchor_run_done_has_its_output",
                condition=~Q(state="done") | Q(done_at__isnull=False, output_digest__isnull=False),
            ),
        ]
        indexes = [
            models.Index(name="anchor_run_waiting", fields=["created_at"], condition=Q(state="waiting")),
            models.Index(
                name="anchor_run_to_resolve",
                fields=["done_at"],
                condition=Q(state__in=["done", "failed"], resolved_at__isnull=True),
            ),
            models.Index(name="anchor_run_failed", fields=["done_at"], condition=Q(state="failed")),
        ]


class AnchorMachine(models.Model):
    """An operator's machine that runs units again: when it was last heard of, and why it cannot run any, if so."""

    name = models.CharField(primary_key=True, max_length=120)
    seen_at = models.DateTimeField()
    comparison_class = models.CharField(max_length=120, default="", blank=True)
    problem = models.CharField(max_length=300, default="", blank=True)

    class Meta:
        db_table = "anchor_machine"
