"""What is known of vehicles' honesty: standing, trust, audits, revocations, and how outputs are compared."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from workunits.domain.audits.sequence import AuditState
from workunits.domain.audits.standing import Standing
from workunits.models.accounts import Owner
from workunits.models.batches import Batch
from workunits.models.catalog import OnnxModel
from workunits.models.vehicles import Vehicle


class VehicleStanding(models.Model):
    """Where a vehicle stands, over all levels. No row: nothing was ever judged.

    `folded_sequence`: up to which of its commitments trust was folded. `resets`: when it lost a dispute, as
    far as that counts for its standing. `life_ends`: its last commitment whenever its trust was reset.
    """

    vehicle = models.OneToOneField(Vehicle, primary_key=True, on_delete=models.CASCADE, related_name="standing")
    state = models.CharField(
        max_length=16, choices=[(each.value, each.value) for each in Standing], default=Standing.NORMAL.value
    )
    folded_sequence = models.BigIntegerField(default=0)
    resets = ArrayField(models.DateTimeField(), default=list)
    life_ends = ArrayField(models.BigIntegerField(), default=list, db_default=[])
    quarantined_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=300, default="", blank=True)
    appeal = models.TextField(default="", blank=True)
    appealed_at = models.DateTimeField(null=True, blank=True)
    appeal_answer = models.TextField(default="", blank=True)
    appeal_answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "vehicle_standing"
        verbose_name_plural = "vehicle standing"
        constraints = [
            models.CheckConstraint(
                name="vehicle_standing_quarantined_has_its_time",
                condition=~Q(state="quarantined") | Q(quarantined_at__isnull=False),
            ),
        ]


class VehicleTrust(models.Model):
    """Accepted weight of a vehicle at one level: in all (`model_id` 0 and no class), in a class, or for a model there.

    `weight_microcredits` is what it was worth at `weighed_at`; it decays from then on. Kept in the first of the three
    rows only: `final_sequence`, up to which commitment the level's results are final, and `provisional_since`, when the
    oldest result behind it was committed.
    """

    vehicle = models.ForeignKey(Vehicle, on_delete=models.CASCADE, related_name="trust")
    level = models.SmallIntegerField()
    model_id = models.BigIntegerField(default=0)
    comparison_class = models.CharField(max_length=120, default="", blank=True)
    weight_microcredits = models.BigIntegerField(default=0)
    weighed_at = models.DateTimeField()
    last_commit_at = models.DateTimeField()
    final_sequence = models.BigIntegerField(default=0)
    provisional_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "vehicle_trust"
        verbose_name_plural = "vehicle trust"
        constraints = [
            models.UniqueConstraint(
                name="vehicle_trust_one_per_scope", fields=["vehicle", "level", "model_id", "comparison_class"]
            ),
            models.CheckConstraint(name="vehicle_trust_not_negative", condition=Q(weight_microcredits__gte=0)),
        ]
        indexes = [
            models.Index(
                name="vehicle_trust_on_hold",
                fields=["provisional_since"],
                condition=Q(provisional_since__isnull=False),
            ),
        ]


class TrustEvent(models.Model):
    """Immutable. What changed a vehicle's trust, and why; what an operator and its owner read.

    A reset keeps in `scopes` what it took: a list of level, model id, comparison class and weight.
    """

    class Kind(models.TextChoices):
        """What happened."""

        QUALIFIED = "qualified"
        AUDIT_PASSED = "audit_passed"
        AUDIT_FAILED = "audit_failed"
        INCONCLUSIVE = "inconclusive"
        RESET = "reset"
        WATCHED = "watched"
        QUARANTINED = "quarantined"
        RELEASED = "released"
        APPEALED = "appealed"
        ANSWERED = "answered"
        ROLLED_BACK = "rolled_back"

    vehicle = models.ForeignKey(Vehicle, on_delete=models.PROTECT, related_name="trust_events")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    level = models.SmallIntegerField(null=True)
    sequence = models.BigIntegerField(null=True)
    batch_id = models.BigIntegerField(null=True)
    unit_number = models.IntegerField(null=True)
    weight_before = models.BigIntegerField(null=True)
    weight_after = models.BigIntegerField(null=True)
    detail = models.CharField(max_length=300, default="", blank=True)
    scopes = models.JSONField(default=list, blank=True, db_default=[])

    class Meta:
        db_table = "trust_event"
        indexes = [models.Index(name="trust_event_by_vehicle", fields=["vehicle", "-at"])]


class Audit(models.Model):
    """One re-run of a believed result, from the draw to its outcome.

    `vehicle`, `owner_id`, `sequence`, `primary_class`: whose result is audited. `auditor_*`: who ran it again; owner 0
    is an anchor. `needs`: who may. `stage`: how far the comparison had to go. `distance` is in tolerances (1 agrees,
    4 does not). `opens_at`: when it may be leased, a random while after the draw. `settled_at`: when a failed one had
    its consequences.
    """

    class Reason(models.TextChoices):
        """Why there is an audit."""

        DRAWN = "drawn"
        YOUNG = "young"
        FORCED = "forced"
        FLOOR = "floor"
        AUDITING = "auditing"  # the other side of another vehicle's audit: who audits is checked as well
        KNOWN = "known"  # a unit whose answer was known

    class Needs(models.TextChoices):
        """Who may run it."""

        CAR = "car"
        OTHER_CLASS = "other_class"
        ANCHOR = "anchor"

    class Stage(models.TextChoices):
        """What the outcome rests on."""

        DIGEST = "digest"
        SKETCH = "sketch"
        TENSORS = "tensors"
        ANCHOR = "anchor"

    # Their own indexes, below, begin with them.
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="audits", db_index=False)
    unit_number = models.IntegerField()
    vehicle = models.ForeignKey(Vehicle, on_delete=models.PROTECT, related_name="audits", db_index=False)
    owner_id = models.IntegerField()
    sequence = models.BigIntegerField()
    level = models.SmallIntegerField()
    weight_microcredits = models.BigIntegerField()
    reason = models.CharField(max_length=16, choices=Reason.choices)
    needs = models.CharField(max_length=16, choices=Needs.choices)
    state = models.CharField(
        max_length=16, choices=[(each.value, each.value) for each in AuditState], default=AuditState.OPEN.value
    )
    created_at = models.DateTimeField()
    opens_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)
    primary_class = models.CharField(max_length=120, default="", blank=True)
    auditor_vehicle_id = models.BigIntegerField(null=True, blank=True)
    auditor_owner_id = models.IntegerField(null=True, blank=True)
    auditor_class = models.CharField(max_length=120, default="", blank=True)
    stage = models.CharField(max_length=16, choices=Stage.choices, default="", blank=True)
    distance = models.FloatField(null=True, blank=True)
    detail = models.CharField(max_length=300, default="", blank=True)

    class Meta:
        db_table = "audit"
        constraints = [
            models.UniqueConstraint(
                name="audit_one_open_per_unit", fields=["batch", "unit_number"], condition=Q(state="open")
            ),
            models.CheckConstraint(
                name="audit_resolved_has_its_time",
                condition=Q(state="open", resolved_at__isnull=True) | ~Q(state="open") & Q(resolved_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index(name="audit_by_vehicle", fields=["vehicle", "level", "sequence"]),
            models.Index(name="audit_open_by_vehicle", fields=["vehicle"], condition=Q(state="open")),
            # Disputes that a vehicle is the other side of.
            models.Index(
                name="audit_disputed_by",
                fields=["auditor_vehicle_id"],
                condition=Q(state="open", auditor_vehicle_id__isnull=False),
            ),
            models.Index(name="audit_open", fields=["created_at"], condition=Q(state="open")),
            # With all that a batch's counts go by, so that they need no row.
            models.Index(name="audit_by_batch", fields=["batch", "state", "reason", "needs"]),
            # What operators look into first: those that were lost or left undecided.
            models.Index(name="audit_disagreement", fields=["-id"], condition=Q(state__in=["failed", "inconclusive"])),
            models.Index(
                name="audit_to_settle", fields=["resolved_at"], condition=Q(state="failed", settled_at__isnull=True)
            ),
        ]


class Revocation(models.Model):
    """A result that a lost dispute took back: first a queue for its batch, then the record of it."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="revocations")
    unit_number = models.IntegerField()
    owner_id = models.IntegerField()
    # Its own index, below, begins with it.
    vehicle = models.ForeignKey(Vehicle, on_delete=models.PROTECT, related_name="revocations", db_index=False)
    sequence = models.BigIntegerField()
    audit = models.ForeignKey(Audit, on_delete=models.PROTECT, related_name="revocations")
    created_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "revocation"
        constraints = [
            models.UniqueConstraint(name="revocation_once", fields=["batch", "unit_number", "owner_id"]),
        ]
        indexes = [
            models.Index(name="revocation_to_do", fields=["batch", "unit_number"], condition=Q(done_at__isnull=True)),
            models.Index(name="revocation_by_vehicle", fields=["vehicle", "sequence"]),
        ]


class BatchNotice(models.Model):
    """What the researcher of a batch is told, e.g. that rows of a finished file were taken back and are run again."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="notices")
    at = models.DateTimeField()
    code = models.CharField(max_length=40)
    text = models.CharField(max_length=300)

    class Meta:
        db_table = "batch_notice"
        indexes = [models.Index(name="batch_notice_by_batch", fields=["batch", "-at"])]


class ModelTolerance(models.Model):
    """The tolerance of one output of a model in one comparison class, and what it was calibrated with.

    `comparison_class` is empty for the one that holds across classes and where no other does, `*` for the one within
    any single class (8-bit outputs have both). `observed_max` is the largest distance among honest runs, over
    `samples` rows or audits; `cheaper_distance` what the next lower precision differs by in the median row.
    """

    class Source(models.TextChoices):
        """Where the samples came from."""

        ADMISSION = "admission"
        AUDITS = "audits"
        OPERATOR = "operator"

    model = models.ForeignKey(OnnxModel, on_delete=models.CASCADE, related_name="tolerances")
    comparison_class = models.CharField(max_length=120, default="", blank=True)
    output = models.CharField(max_length=200)
    tolerance = models.FloatField()
    observed_max = models.FloatField()
    cheaper_distance = models.FloatField(null=True, blank=True)
    samples = models.IntegerField()
    source = models.CharField(max_length=16, choices=Source.choices)
    calibrated_at = models.DateTimeField()

    class Meta:
        db_table = "model_tolerance"
        constraints = [
            models.UniqueConstraint(
                name="model_tolerance_one_per_output", fields=["model", "comparison_class", "output"]
            ),
            models.CheckConstraint(name="model_tolerance_positive", condition=Q(tolerance__gt=0)),
        ]


class VehicleCommit(models.Model):
    """Read model of a vehicle's numbered commitments at levels with audits, each with the probability of its draw."""

    id = models.CharField(primary_key=True, max_length=60)
    vehicle = models.ForeignKey(Vehicle, on_delete=models.DO_NOTHING, related_name="commits")
    sequence = models.BigIntegerField()
    batch = models.ForeignKey(Batch, on_delete=models.DO_NOTHING, related_name="+")
    unit_number = models.IntegerField()
    owner_id = models.IntegerField()
    attempt = models.SmallIntegerField()
    level = models.SmallIntegerField()
    role = models.SmallIntegerField()
    model_id = models.BigIntegerField()
    comparison_class = models.CharField(max_length=120)
    weight = models.BigIntegerField()
    probability = models.FloatField()
    drawn = models.BooleanField()
    committed_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "vehicle_commit_view"


class EarningOutcome(models.Model):
    """Read model: what became of a provisional earning item. Immutable."""

    id = models.CharField(primary_key=True, max_length=60)
    batch = models.ForeignKey(Batch, on_delete=models.DO_NOTHING, related_name="earning_outcomes")
    unit_number = models.IntegerField()
    owner = models.ForeignKey(Owner, on_delete=models.DO_NOTHING, related_name="earning_outcomes")
    outcome = models.CharField(max_length=8)
    amount_microcredits = models.BigIntegerField()
    verdict_number = models.IntegerField()
    created_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "earning_outcome_view"
