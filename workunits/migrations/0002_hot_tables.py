"""Make the partitioned tables, their views, and the triggers that keep the ledger immutable."""

from __future__ import annotations

from django.db import migrations

from workunits.sql import load_sql


class Migration(migrations.Migration):
    """Plain SQL: Django has no words for hash partitions."""

    dependencies = [("workunits", "0001_initial")]
    operations = [migrations.RunSQL(load_sql("schema/0002_hot_tables"), migrations.RunSQL.noop)]
