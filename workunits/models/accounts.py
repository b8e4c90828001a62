"""People: users who sign in, owners of cars, researchers' projects and their API keys."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from workunits.models.identifiers import PublicIdField, make_key_id, make_owner_id, make_project_id


class User(AbstractUser):
    """Somebody who signs in. Being an owner, a researcher or an operator is what hangs on it."""

    class Meta:
        db_table = "app_user"


class Owner(models.Model):
    """Somebody who lends cars and is credited. The key is 32 bits wide because replica tokens carry it."""

    id = models.AutoField(primary_key=True)
    public_id = PublicIdField(default=make_owner_id)
    user = models.OneToOneField(User, on_delete=models.PROTECT, related_name="owner")
    display_name = models.CharField(max_length=120)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "owner"

    def __str__(self) -> str:
        return self.display_name


class Project(models.Model):
    """What researchers share: models, datasets, batches, keys, and one budget."""

    public_id = PublicIdField(default=make_project_id)
    name = models.CharField(max_length=120)
    members = models.ManyToManyField(User, related_name="projects", db_table="project_member")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "project"

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A researcher's key. Only its SHA-256 is kept; the prefix finds it and is safe to show."""

    public_id = PublicIdField(default=make_key_id)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=120)
    prefix = models.CharField(max_length=32, unique=True, editable=False)
    secret_sha256 = models.BinaryField(max_length=32, editable=False)
    scopes = ArrayField(models.CharField(max_length=40))
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "api_key"
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(name="api_key_has_a_scope", condition=~models.Q(scopes=[])),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
