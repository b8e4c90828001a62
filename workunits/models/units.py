"""Read models of the partitioned hot tables (`unit`, `replica`, `earning_item`, `unit_event`).

Their keys are composite and begin with the batch, which Django's admin cannot show; so these models read the views
`*_view`, whose text `id` joins the key's parts with `:`. Nothing is ever written through them.
"""

from __future__ import annotations

from django.db import models

from workunits.domain.states import ReplicaState, UnitState


class Unit(models.Model):
    """A work unit: rows `[row_start, row_start + rows)` of its batch, one safetensors document inside a shard."""

    id = models.CharField(primary_key=True, max_length=40)
    batch = models.ForeignKey("workunits.Batch", on_delete=models.DO_NOTHING, related_name="units")
    number = models.IntegerField()
    shard_number = models.IntegerField()
    row_start = models.BigIntegerField()
    rows = models.IntegerField()
    byte_start = models.BigIntegerField()
    byte_end = models.BigIntegerField()
    input_digest = models.BinaryField()
    reward_microcredits = models.BigIntegerField()
    state = models.CharField(max_length=12, choices=[(state.value, state.value) for state in UnitState])
    needed = models.SmallIntegerField()
    urgent = models.BooleanField()
    canonical_owner_id = models.IntegerField(null=True)
    decided_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=300)
    place = models.IntegerField()
    final_at = models.DateTimeField(null=True)
    confirmed = models.SmallIntegerField()

    class Meta:
        managed = False
        db_table = "unit_view"

    def __str__(self) -> str:
        return self.id


class Replica(models.Model):
    """One copy of a unit, leased to one vehicle. An owner holds at most one replica of a unit.

    Owner and vehicle are None where an anchor ran it: the columns hold 0 then, which names no row.
    """

    id = models.CharField(primary_key=True, max_length=60)
    batch = models.ForeignKey("workunits.Batch", on_delete=models.DO_NOTHING, related_name="replicas")
    unit_number = models.IntegerField()
    owner = models.ForeignKey("workunits.Owner", null=True, on_delete=models.DO_NOTHING, related_name="replicas")
    vehicle = models.ForeignKey("workunits.Vehicle", null=True, on_delete=models.DO_NOTHING, related_name="replicas")
    attempt = models.SmallIntegerField()
    state = models.CharField(max_length=12, choices=[(state.value, state.value) for state in ReplicaState])
    rows = models.IntegerField()
    leased_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    committed_at = models.DateTimeField(null=True)
    reported_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    output_bytes = models.IntegerField(null=True)
    output_digest = models.BinaryField(null=True)
    output_blob = models.CharField(max_length=64, null=True)
    seconds = models.FloatField(null=True)
    reason = models.CharField(max_length=300)
    role = models.SmallIntegerField()
    weight = models.BigIntegerField()
    sequence = models.BigIntegerField(null=True)
    drawn = models.BooleanField()
    young = models.BooleanField()
    comparison_class = models.CharField(max_length=120)
    bytes_wanted = models.BooleanField()

    class Meta:
        managed = False
        db_table = "replica_view"

    def __str__(self) -> str:
        return self.id


class EarningItem(models.Model):
    """What a verdict earned an owner: immutable, one for each valid replica. Transfers aggregate these."""

    id = models.CharField(primary_key=True, max_length=60)
    batch = models.ForeignKey("workunits.Batch", on_delete=models.DO_NOTHING, related_name="earning_items")
    unit_number = models.IntegerField()
    owner = models.ForeignKey("workunits.Owner", on_delete=models.DO_NOTHING, related_name="earning_items")
    vehicle = models.ForeignKey("workunits.Vehicle", on_delete=models.DO_NOTHING, related_name="earning_items")
    amount_microcredits = models.BigIntegerField()
    verdict_number = models.IntegerField()
    created_at = models.DateTimeField()
    provisional = models.BooleanField()
    verification = models.BooleanField()

    class Meta:
        managed = False
        db_table = "earning_item_view"


class UnitEvent(models.Model):
    """A move that the rows' own timestamps do not show: hand-backs, errors, expiries, doubts, failures."""

    id = models.CharField(primary_key=True, max_length=40)
    batch = models.ForeignKey("workunits.Batch", on_delete=models.DO_NOTHING, related_name="unit_events")
    unit_number = models.IntegerField()
    owner_id = models.IntegerField(null=True)
    event = models.CharField(max_length=40)
    detail = models.CharField(max_length=300)
    at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "unit_event_view"
