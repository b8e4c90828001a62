"""What identifies a car beside its key: rotation, process marks, number matching; the server's rules; an index for pay.

Columns that a running older process does not know have defaults in the database.
"""

from __future__ import annotations

import django.contrib.postgres.fields
from django.db import migrations, models

from workunits.sql import load_sql


class Migration(migrations.Migration):
    dependencies = [
        ("workunits", "0003_sync_vehicle"),
    ]

    operations = [
        migrations.AddField(
            model_name="devicepairing",
            name="match_choices",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.SmallIntegerField(), default=[10], size=None
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="devicepairing",
            name="match_number",
            field=models.SmallIntegerField(default=10),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="vehicle",
            name="clone_suspected_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="vehicle",
            name="previous_public_key",
            field=models.BinaryField(blank=True, max_length=32, null=True),
        ),
        migrations.AddField(
            model_name="vehicle",
            name="rotated_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="vehicle",
            name="rules",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="vehiclepresence",
            name="boot_changed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="vehiclepresence",
            name="boot_marks",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=64), db_default=[], default=list, size=None
            ),
        ),
        migrations.AddField(
            model_name="vehiclepresence",
            name="clock_skew_seconds",
            field=models.FloatField(null=True),
        ),
        migrations.AddField(
            model_name="vehiclepresence",
            name="instance",
            field=models.CharField(db_default="", default="", max_length=64),
        ),
        migrations.AddField(
            model_name="vehiclepresence",
            name="walls",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=40), null=True, size=None
            ),
        ),
        migrations.AddConstraint(
            model_name="devicepairing",
            constraint=models.CheckConstraint(
                condition=models.Q(("match_choices__contains", [models.F("match_number")])),
                name="device_pairing_choices_hold_the_number",
            ),
        ),
        migrations.AddConstraint(
            model_name="vehicle",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("previous_public_key__isnull", True), ("rotated_at__isnull", True)),
                    models.Q(("previous_public_key__isnull", False), ("rotated_at__isnull", False)),
                    _connector="OR",
                ),
                name="vehicle_rotation_has_its_time",
            ),
        ),
        migrations.RunSQL(
            load_sql("schema/0004_vehicle_identity"),
            "DROP INDEX earning_item_by_vehicle; ALTER TABLE vehicle DROP CONSTRAINT vehicle_rules_are_an_object;",
        ),
    ]
