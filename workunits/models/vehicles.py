"""Cars: what they are (rarely written), where they stand with us (written by every sync), and how they are paired."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from workunits.domain.twins import is_suspected
from workunits.models.accounts import Owner
from workunits.models.identifiers import PublicIdField, make_vehicle_id


class Vehicle(models.Model):
    """A paired car, known by the Ed25519 key that was made on it and never leaves it.

    `previous_public_key`: the key before the last rotation, so that a car which missed our answer can ask again.
    `clone_suspected_at`: when two processes were last seen to use the key in turn. `rules`: what we ask of this car on
    top of its owner's rules; it can only tighten them.
    """

    class Status(models.TextChoices):
        """Whether the car may talk to us."""

        ACTIVE = "active"
        REVOKED = "revoked"

    public_id = PublicIdField(default=make_vehicle_id)
    owner = models.ForeignKey(Owner, on_delete=models.PROTECT, related_name="vehicles")
    name = models.CharField(max_length=120)
    public_key = models.BinaryField(max_length=32, unique=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    paired_at = models.DateTimeField(default=timezone.now)
    revoked_at = models.DateTimeField(null=True, blank=True)
    previous_public_key = models.BinaryField(max_length=32, null=True, blank=True)
    rotated_at = models.DateTimeField(null=True, blank=True)
    clone_suspected_at = models.DateTimeField(null=True, blank=True)
    rules = models.JSONField(null=True, blank=True)

    class Meta:
        db_table = "vehicle"
        constraints = [
            models.CheckConstraint(
                name="vehicle_rotation_has_its_time",
                condition=Q(previous_public_key__isnull=True, rotated_at__isnull=True)
                | Q(previous_public_key__isnull=False, rotated_at__isnull=False),
            ),
            models.CheckConstraint(
                name="vehicle_revoked_has_its_time",
                condition=Q(status="revoked", revoked_at__isnull=False) | Q(status="active", revoked_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_clone_suspected(self) -> bool:
        """Whether a second computer is thought to use this car's key now."""
        return is_suspected(self.clone_suspected_at, timezone.now())


class VehiclePresence(models.Model):
    """The heartbeat row of a car: one update a sync, and no index on what a sync changes (so that updates stay HOT).

    `open_*` are parallel arrays: the leases the car holds by our books, a superset cleaned at each sync.
    `lease_expires_at` is the earliest of their deadlines, rounded up to ten seconds so that a busy car's row
    seldom changes in an indexed column.

    `commit_sequence` is the number of the last commitment at a level with audits; `trust_life` grows with each reset,
    so that a draw made with older trust is not written. Before `audits_from` it gets no audits: it has given one up.
    `audits_held` are those that it holds and has not committed to.

    From `instance` on are the columns that hardly ever change, written by a statement of their own when they do:
    `boot_marks` are the processes that used the key, the present one first, and `boot_changed_at` is when it took over.
    """

    vehicle = models.OneToOneField(Vehicle, primary_key=True, on_delete=models.CASCADE, related_name="presence")
    counter = models.BigIntegerField(default=0)
    last_seen_at = models.DateTimeField(null=True)
    eligible = models.BooleanField(default=False)
    reasons = ArrayField(models.CharField(max_length=40), default=list)
    agent = models.CharField(max_length=200, default="")
    comparison_class = models.CharField(max_length=120, default="")
    memory_bytes = models.BigIntegerField(default=0)
    opset_max = models.IntegerField(default=0)
    open_batch_ids = ArrayField(models.BigIntegerField(), default=list)
    open_unit_numbers = ArrayField(models.IntegerField(), default=list)
    lease_expires_at = models.DateTimeField(null=True)
    cursor_batch_id = models.BigIntegerField(null=True)
    cursor_unit_number = models.IntegerField(default=-1)
    misses = models.IntegerField(default=0)
    commit_sequence = models.BigIntegerField(default=0, db_default=0)
    trust_life = models.IntegerField(default=1, db_default=1)
    audits_from = models.DateTimeField(null=True)
    audits_held = models.IntegerField(default=0, db_default=0)
    instance = models.CharField(max_length=64, default="", db_default="")
    boot_marks = ArrayField(models.CharField(max_length=64), default=list, db_default=[])
    boot_changed_at = models.DateTimeField(null=True)
    walls = ArrayField(models.CharField(max_length=40), null=True)
    clock_skew_seconds = models.FloatField(null=True)

    class Meta:
        db_table = "vehicle_presence"
        verbose_name_plural = "vehicle presence"
        indexes = [
            models.Index(
                name="vehicle_presence_expiry",
                fields=["lease_expires_at"],
                condition=Q(lease_expires_at__isnull=False),
            ),
        ]


class DevicePairing(models.Model):
    """One run of the device authorization grant (RFC 8628): a car shows a code, its owner approves it.

    The car also shows `match_number`; the portal offers `match_choices`, and the owner has to pick the right one.
    """

    class State(models.TextChoices):
        """Where the grant stands."""

        PENDING = "pending"
        APPROVED = "approved"
        DENIED = "denied"

    device_code_sha256 = models.BinaryField(max_length=32, unique=True)
    user_code = models.CharField(max_length=9)
    public_key = models.BinaryField(max_length=32)
    car_name = models.CharField(max_length=120)
    agent = models.CharField(max_length=200)
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    last_polled_at = models.DateTimeField(null=True)
    interval_seconds = models.IntegerField(default=5)
    match_number = models.SmallIntegerField()
    match_choices = ArrayField(models.SmallIntegerField())
    vehicle = models.ForeignKey(Vehicle, null=True, on_delete=models.CASCADE)

    class Meta:
        db_table = "device_pairing"
        constraints = [
            models.UniqueConstraint(
                name="device_pairing_one_pending_per_code", fields=["user_code"], condition=Q(state="pending")
            ),
            models.CheckConstraint(
                name="device_pairing_approved_has_a_vehicle",
                condition=~Q(state="approved") | Q(vehicle__isnull=False),
            ),
            models.CheckConstraint(
                name="device_pairing_choices_hold_the_number", condition=Q(match_choices__contains=[F("match_number")])
            ),
        ]
