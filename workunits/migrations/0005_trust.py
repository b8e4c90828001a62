"""Make the tables between the web tier and the admission service, and ask for every model that is here already."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from workunits.sql import load_sql


class Migration(migrations.Migration):
    dependencies = [
        ("workunits", "0004_vehicle_identity"),
    ]

    operations = [
        migrations.CreateModel(
            name="AdmissionLogEntry",
            fields=[
                ("index", models.BigIntegerField(primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=16)),
                ("sha256", models.CharField(max_length=64)),
                ("size_bytes", models.BigIntegerField()),
                ("admitted_at", models.CharField(max_length=40)),
                ("facts_sha256", models.CharField(max_length=64)),
                ("previous", models.CharField(max_length=64)),
                ("hash", models.CharField(max_length=64)),
            ],
            options={
                "db_table": "admission_log",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("index__gte", 0)), name="admission_log_index_not_negative"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ModelAdmission",
            fields=[
                (
                    "model",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="admission",
                        serialize=False,
                        to="workunits.onnxmodel",
                    ),
                ),
                ("sha256", models.CharField(max_length=64)),
                ("request", models.JSONField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "Requested"),
                            ("signed", "Signed"),
                            ("refused", "Refused"),
                            ("revoked", "Revoked"),
                        ],
                        default="requested",
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, default="", max_length=300)),
                ("attempts", models.IntegerField(default=0)),
                ("log_index", models.BigIntegerField(blank=True, null=True)),
                ("requested_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "model_admission",
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "requested")),
                        fields=["requested_at"],
                        name="model_admission_requested",
                    ),
                    models.Index(
                        condition=models.Q(("state", "revoked")), fields=["model"], name="model_admission_revoked"
                    ),
                    models.Index(fields=["sha256"], name="model_admission_by_sha256"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state", "requested"), ("decided_at__isnull", False), _connector="OR"),
                        name="model_admission_decided_has_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "signed"), _negated=True), ("log_index__isnull", False), _connector="OR"
                        ),
                        name="model_admission_signed_is_logged",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TrustFile",
            fields=[
                ("name", models.CharField(max_length=300, primary_key=True, serialize=False)),
                ("role", models.CharField(max_length=40)),
                ("version", models.BigIntegerField()),
                ("content", models.BinaryField()),
                ("published_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("replaced_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "trust_file",
                "indexes": [
                    models.Index(
                        condition=models.Q(("replaced_at__isnull", False)),
                        fields=["replaced_at"],
                        name="trust_file_replaced",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="TrustOrder",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("publish", "Publish"), ("revoke", "Revoke"), ("stop", "Stop")], max_length=16
                    ),
                ),
                ("sha256", models.CharField(blank=True, default="", max_length=64)),
                ("content", models.BinaryField(blank=True, default=b"")),
                ("outcome", models.CharField(blank=True, default="", max_length=300)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("done_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "trust_order",
                "indexes": [
                    models.Index(condition=models.Q(("done_at__isnull", True)), fields=["id"], name="trust_order_open")
                ],
            },
        ),
        migrations.RunSQL(load_sql("schema/0005_trust"), migrations.RunSQL.noop),
    ]
