"""The functions that a sync calls: one for each lane, and one for a sync that speaks of several.

A change of them, or of the statements in them, is a new migration that creates them again.
"""

from __future__ import annotations

from django.db import migrations

from workunits.sql import LANES, load_function


class Migration(migrations.Migration):
    dependencies = [("workunits", "0002_hot_tables")]
    operations = [
        migrations.RunSQL(load_function("sync_vehicle"), "DROP FUNCTION sync_vehicle"),
        *(
            migrations.RunSQL(load_function("sync_vehicle", lane=lane), f"DROP FUNCTION sync_vehicle_{lane}")
            for lane in range(LANES)
        ),
    ]
