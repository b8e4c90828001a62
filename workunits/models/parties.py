"""Which owners may be one party, and what says so."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from workunits.models.accounts import Owner


class OwnerCluster(models.Model):
    """Owners that may be one party; `cluster_id` is the least owner id among them. No row: the owner stands alone."""

    owner = models.OneToOneField(Owner, primary_key=True, on_delete=models.CASCADE, related_name="cluster")
    cluster_id = models.IntegerField(db_index=True)
    computed_at = models.DateTimeField()

    class Meta:
        db_table = "owner_cluster"


class ClusterEdge(models.Model):
    """A reason to think that two owners are one party. Edges expire; a network alone is never one."""

    class Kind(models.TextChoices):
        """What they share; or that an operator holds them apart, and nothing else joins these two meanwhile."""

        PAYOUT = "payout"
        NETWORK_AND_TIME = "network_and_time"
        NETWORK_AND_INSTANCE = "network_and_instance"
        OPERATOR = "operator"
        APART = "apart"

    first = models.ForeignKey(Owner, on_delete=models.CASCADE, related_name="+")
    second = models.ForeignKey(Owner, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=24, choices=Kind.choices)
    detail = models.CharField(max_length=200, default="", blank=True)
    seen_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "cluster_edge"
        constraints = [
            models.UniqueConstraint(name="cluster_edge_once", fields=["first", "second", "kind"]),
            models.CheckConstraint(name="cluster_edge_in_order", condition=Q(first__lt=models.F("second"))),
        ]


class OwnerNetwork(models.Model):
    """A network that an owner's cars have called from, as a keyed hash of its prefix; forgotten after 30 days."""

    owner = models.ForeignKey(Owner, on_delete=models.CASCADE, related_name="networks")
    prefix_hash = models.BinaryField(max_length=16)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    class Meta:
        db_table = "owner_network"
        constraints = [models.UniqueConstraint(name="owner_network_once", fields=["owner", "prefix_hash"])]
        indexes = [models.Index(name="owner_network_by_prefix", fields=["prefix_hash"])]
