"""What the web tier asks of the admission service, and what the service shows to the world.

None of these tables is believed by a car, nor by the service: signatures are, and the service's own folder. Whoever
can write here can delay or stop work; he cannot add a model.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from workunits.models.catalog import OnnxModel


class ModelAdmission(models.Model):
    """Where a model stands with the admission service. `request` is what its examination was asked with."""

    class State(models.TextChoices):
        """Each state and who puts a row there."""

        REQUESTED = "requested"  # intake, with the model
        SIGNED = "signed"  # the admission service: the repository lists it
        REFUSED = "refused"  # the admission service: its own examination found something else
        REVOKED = "revoked"  # the admission service, by order of an operator

    model = models.OneToOneField(OnnxModel, primary_key=True, on_delete=models.CASCADE, related_name="admission")
    sha256 = models.CharField(max_length=64)
    request = models.JSONField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.REQUESTED)
    reason = models.CharField(max_length=300, default="", blank=True)
    attempts = models.IntegerField(default=0)
    log_index = models.BigIntegerField(null=True, blank=True)
    requested_at = models.DateTimeField(default=timezone.now)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "model_admission"
        constraints = [
            models.CheckConstraint(
                name="model_admission_decided_has_time", condition=Q(state="requested") | Q(decided_at__isnull=False)
            ),
            models.CheckConstraint(
                name="model_admission_signed_is_logged", condition=~Q(state="signed") | Q(log_index__isnull=False)
            ),
        ]
        indexes = [
            models.Index(name="model_admission_requested", fields=["requested_at"], condition=Q(state="requested")),
            models.Index(name="model_admission_revoked", fields=["model"], condition=Q(state="revoked")),
            models.Index(name="model_admission_by_sha256", fields=["sha256"]),
        ]

    def __str__(self) -> str:
        return f"{self.sha256[:12]} {self.state}"


class TrustFile(models.Model):
    """A file of the repository as cars fetch it. `replaced_at`: since when it is kept for late readers only."""

    name = models.CharField(max_length=300, primary_key=True)
    role = models.CharField(max_length=40)
    version = models.BigIntegerField()
    content = models.BinaryField()
    published_at = models.DateTimeField(default=timezone.now)
    replaced_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "trust_file"
        indexes = [
            models.Index(name="trust_file_replaced", fields=["replaced_at"], condition=Q(replaced_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.name


class TrustOrder(models.Model):
    """What an operator asks of the admission service, which checks what needs signatures and notes the outcome."""

    class Kind(models.TextChoices):
        """What can be asked."""

        PUBLISH = "publish"  # `content`: a staged root or targets
        REVOKE = "revoke"  # `sha256`: take a model out for good
        STOP = "stop"  # stop the fleet; only who has the service's folder can start it again

    kind = models.CharField(max_length=16, choices=Kind.choices)
    sha256 = models.CharField(max_length=64, default="", blank=True)
    content = models.BinaryField(default=b"", blank=True)
    outcome = models.CharField(max_length=300, default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "trust_order"
        indexes = [models.Index(name="trust_order_open", fields=["id"], condition=Q(done_at__isnull=True))]

    def __str__(self) -> str:
        return f"{self.kind} {self.outcome or 'open'}"


class AdmissionLogEntry(models.Model):
    """One line of the public log of models; a trigger refuses to change or remove it."""

    index = models.BigIntegerField(primary_key=True)
    kind = models.CharField(max_length=16)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    admitted_at = models.CharField(max_length=40)
    facts_sha256 = models.CharField(max_length=64)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        db_table = "admission_log"
        constraints = [models.CheckConstraint(name="admission_log_index_not_negative", condition=Q(index__gte=0))]

    def __str__(self) -> str:
        return f"{self.index} {self.kind} {self.sha256[:12]}"
