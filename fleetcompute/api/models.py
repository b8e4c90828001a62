"""What the interface itself must remember: answers given under an idempotency key."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class IdempotentAnswer(models.Model):
    """The answer to a creating request, kept so that the same request again creates nothing."""

    project = models.ForeignKey("workunits.Project", on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    status = models.SmallIntegerField(default=0)
    body = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "idempotent_answer"
        constraints = [
            models.UniqueConstraint(name="idempotent_answer_once_per_key", fields=["project", "key"]),
        ]

    def __str__(self) -> str:
        return self.key
