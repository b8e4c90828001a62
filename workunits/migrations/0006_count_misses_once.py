"""Let a sync count once that its lane had nothing, whatever number of batches the lane has."""

from __future__ import annotations

from django.db import migrations

from workunits.sql import LANES, load_function


class Migration(migrations.Migration):
    dependencies = [("workunits", "0005_trust")]
    operations = [
        migrations.RunSQL(load_function("sync_vehicle", lane=lane), migrations.RunSQL.noop)
        for lane in (None, *range(LANES))
    ]
