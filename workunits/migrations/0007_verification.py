"""Make the tables of verification by audits, and let a sync draw what is audited."""

from __future__ import annotations

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from workunits.sql import LANES, load_function, load_sql


class Migration(migrations.Migration):
    dependencies = [
        ("workunits", "0006_count_misses_once"),
    ]

    operations = [
        migrations.CreateModel(
            name="EarningOutcome",
            fields=[
                ("id", models.CharField(max_length=60, primary_key=True, serialize=False)),
                ("unit_number", models.IntegerField()),
                ("outcome", models.CharField(max_length=8)),
                ("amount_microcredits", models.BigIntegerField()),
                ("verdict_number", models.IntegerField()),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "earning_outcome_view",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="VehicleCommit",
            fields=[
                ("id", models.CharField(max_length=60, primary_key=True, serialize=False)),
                ("sequence", models.BigIntegerField()),
                ("unit_number", models.IntegerField()),
                ("owner_id", models.IntegerField()),
                ("attempt", models.SmallIntegerField()),
                ("level", models.SmallIntegerField()),
                ("role", models.SmallIntegerField()),
                ("model_id", models.BigIntegerField()),
                ("comparison_class", models.CharField(max_length=120)),
                ("weight", models.BigIntegerField()),
                ("probability", models.FloatField()),
                ("drawn", models.BooleanField()),
                ("committed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "vehicle_commit_view",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="AnchorMachine",
            fields=[
                ("name", models.CharField(max_length=120, primary_key=True, serialize=False)),
                ("seen_at", models.DateTimeField()),
                ("comparison_class", models.CharField(blank=True, default="", max_length=120)),
                ("problem", models.CharField(blank=True, default="", max_length=300)),
            ],
            options={
                "db_table": "anchor_machine",
            },
        ),
        migrations.CreateModel(
            name="AnchorRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("unit_number", models.IntegerField()),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("young", "Young"),
                            ("dispute", "Dispute"),
                            ("overdue", "Overdue"),
                            ("class", "Class"),
                            ("floor", "Floor"),
                            ("calibration", "Calibration"),
                            ("operator", "Operator"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="waiting",
                        max_length=16,
                    ),
                ),
                ("attempts", models.IntegerField(default=0)),
                ("created_at", models.DateTimeField()),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                ("claimed_by", models.CharField(blank=True, default="", max_length=120)),
                ("done_at", models.DateTimeField(blank=True, null=True)),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("comparison_class", models.CharField(blank=True, default="", max_length=120)),
                ("seconds", models.FloatField(blank=True, null=True)),
                ("output_digest", models.BinaryField(null=True)),
                ("output_blob", models.CharField(blank=True, default="", max_length=64)),
                ("error", models.CharField(blank=True, default="", max_length=300)),
            ],
            options={
                "db_table": "anchor_run",
            },
        ),
        migrations.CreateModel(
            name="Audit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("unit_number", models.IntegerField()),
                ("owner_id", models.IntegerField()),
                ("sequence", models.BigIntegerField()),
                ("level", models.SmallIntegerField()),
                ("weight_microcredits", models.BigIntegerField()),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("drawn", "Drawn"),
                            ("young", "Young"),
                            ("forced", "Forced"),
                            ("floor", "Floor"),
                            ("auditing", "Auditing"),
                            ("known", "Known"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "needs",
                    models.CharField(
                        choices=[("car", "Car"), ("other_class", "Other Class"), ("anchor", "Anchor")], max_length=16
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "open"),
                            ("passed", "passed"),
                            ("failed", "failed"),
                            ("inconclusive", "inconclusive"),
                            ("void", "void"),
                        ],
                        default="open",
                        max_length=16,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("opens_at", models.DateTimeField()),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                ("primary_class", models.CharField(blank=True, default="", max_length=120)),
                ("auditor_vehicle_id", models.BigIntegerField(blank=True, null=True)),
                ("auditor_owner_id", models.IntegerField(blank=True, null=True)),
                ("auditor_class", models.CharField(blank=True, default="", max_length=120)),
                (
                    "stage",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("digest", "Digest"),
                            ("sketch", "Sketch"),
                            ("tensors", "Tensors"),
                            ("anchor", "Anchor"),
                        ],
                        default="",
                        max_length=16,
                    ),
                ),
                ("distance", models.FloatField(blank=True, null=True)),
                ("detail", models.CharField(blank=True, default="", max_length=300)),
            ],
            options={
                "db_table": "audit",
            },
        ),
        migrations.CreateModel(
            name="BatchNotice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("code", models.CharField(max_length=40)),
                ("text", models.CharField(max_length=300)),
            ],
            options={
                "db_table": "batch_notice",
            },
        ),
        migrations.CreateModel(
            name="ClusterEdge",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("payout", "Payout"),
                            ("network_and_time", "Network And Time"),
                            ("network_and_instance", "Network And Instance"),
                            ("operator", "Operator"),
                            ("apart", "Apart"),
                        ],
                        max_length=24,
                    ),
                ),
                ("detail", models.CharField(blank=True, default="", max_length=200)),
                ("seen_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "cluster_edge",
            },
        ),
        migrations.CreateModel(
            name="ModelTolerance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("comparison_class", models.CharField(blank=True, default="", max_length=120)),
                ("output", models.CharField(max_length=200)),
                ("tolerance", models.FloatField()),
                ("observed_max", models.FloatField()),
                ("cheaper_distance", models.FloatField(blank=True, null=True)),
                ("samples", models.IntegerField()),
                (
                    "source",
                    models.CharField(
                        choices=[("admission", "Admission"), ("audits", "Audits"), ("operator", "Operator")],
                        max_length=16,
                    ),
                ),
                ("calibrated_at", models.DateTimeField()),
            ],
            options={
                "db_table": "model_tolerance",
            },
        ),
        migrations.CreateModel(
            name="OwnerCluster",
            fields=[
                (
                    "owner",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="cluster",
                        serialize=False,
                        to="workunits.owner",
                    ),
                ),
                ("cluster_id", models.IntegerField(db_index=True)),
                ("computed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "owner_cluster",
            },
        ),
        migrations.CreateModel(
            name="OwnerNetwork",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("prefix_hash", models.BinaryField(max_length=16)),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
            ],
            options={
                "db_table": "owner_network",
            },
        ),
        migrations.CreateModel(
            name="Revocation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("unit_number", models.IntegerField()),
                ("owner_id", models.IntegerField()),
                ("sequence", models.BigIntegerField()),
                ("created_at", models.DateTimeField()),
                ("done_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "revocation",
            },
        ),
        migrations.CreateModel(
            name="TrustEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("qualified", "Qualified"),
                            ("audit_passed", "Audit Passed"),
                            ("audit_failed", "Audit Failed"),
                            ("inconclusive", "Inconclusive"),
                            ("reset", "Reset"),
                            ("watched", "Watched"),
                            ("quarantined", "Quarantined"),
                            ("released", "Released"),
                            ("appealed", "Appealed"),
                            ("answered", "Answered"),
                            ("rolled_back", "Rolled Back"),
                        ],
                        max_length=16,
                    ),
                ),
                ("level", models.SmallIntegerField(null=True)),
                ("sequence", models.BigIntegerField(null=True)),
                ("batch_id", models.BigIntegerField(null=True)),
                ("unit_number", models.IntegerField(null=True)),
                ("weight_before", models.BigIntegerField(null=True)),
                ("weight_after", models.BigIntegerField(null=True)),
                ("detail", models.CharField(blank=True, default="", max_length=300)),
                ("scopes", models.JSONField(blank=True, db_default=[], default=list)),
            ],
            options={
                "db_table": "trust_event",
            },
        ),
        migrations.CreateModel(
            name="VehicleStanding",
            fields=[
                (
                    "vehicle",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="standing",
                        serialize=False,
                        to="workunits.vehicle",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("normal", "normal"), ("watched", "watched"), ("quarantined", "quarantined")],
                        default="normal",
                        max_length=16,
                    ),
                ),
                ("folded_sequence", models.BigIntegerField(default=0)),
                (
                    "resets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.DateTimeField(), default=list, size=None
                    ),
                ),
                (
                    "life_ends",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), db_default=[], default=list, size=None
                    ),
                ),
                ("quarantined_at", models.DateTimeField(blank=True, null=True)),
                ("reason", models.CharField(blank=True, default="", max_length=300)),
                ("appeal", models.TextField(blank=True, default="")),
                ("appealed_at", models.DateTimeField(blank=True, null=True)),
                ("appeal_answer", models.TextField(blank=True, default="")),
                ("appeal_answered_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name_plural": "vehicle standing",
                "db_table": "vehicle_standing",
            },
        ),
        migrations.CreateModel(
            name="VehicleTrust",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("level", models.SmallIntegerField()),
                ("model_id", models.BigIntegerField(default=0)),
                ("comparison_class", models.CharField(blank=True, default="", max_length=120)),
                ("weight_microcredits", models.BigIntegerField(default=0)),
                ("weighed_at", models.DateTimeField()),
                ("last_commit_at", models.DateTimeField()),
                ("final_sequence", models.BigIntegerField(default=0)),
                ("provisional_since", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name_plural": "vehicle trust",
                "db_table": "vehicle_trust",
            },
        ),
        migrations.AddField(
            model_name="batch",
            name="adversarial_share",
            field=models.FloatField(db_default=0.05, default=0.05),
        ),
        migrations.AddField(
            model_name="batch",
            name="finality",
            field=models.CharField(
                choices=[("final", "final"), ("provisional", "provisional")],
                db_default="final",
                default="final",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="batch",
            name="level",
            field=models.CharField(
                choices=[
                    ("quorum", "quorum"),
                    ("economy", "economy"),
                    ("standard", "standard"),
                    ("strict", "strict"),
                    ("critical", "critical"),
                ],
                db_default="quorum",
                default="quorum",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="batch",
            name="result_revision",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="batch",
            name="capped_owner_ids",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.IntegerField(), db_default=[], default=list, editable=False, size=None
            ),
        ),
        migrations.AddField(
            model_name="batchprogress",
            name="released_verdict_number",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="batchprogress",
            name="rows_final",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="batchprogress",
            name="rows_revoked",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="batchprogress",
            name="units_final",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="vehiclepresence",
            name="commit_sequence",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="vehiclepresence",
            name="trust_life",
            field=models.IntegerField(db_default=1, default=1),
        ),
        migrations.AddField(
            model_name="vehiclepresence",
            name="audits_from",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="vehiclepresence",
            name="audits_held",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="account",
            name="kind",
            field=models.CharField(
                choices=[
                    ("cash_in", "Cash In"),
                    ("project_budget", "Project Budget"),
                    ("owner_earned", "Owner Earned"),
                    ("owner_provisional", "Owner Provisional"),
                    ("platform_fee", "Platform Fee"),
                    ("platform_verification", "Platform Verification"),
                    ("platform_rounding", "Platform Rounding"),
                ],
                max_length=32,
            ),
        ),
        migrations.AlterField(
            model_name="transfer",
            name="kind",
            field=models.CharField(
                choices=[
                    ("top_up", "Top Up"),
                    ("settlement", "Settlement"),
                    ("correction", "Correction"),
                    ("release", "Release"),
                    ("reversal", "Reversal"),
                    ("premium", "Premium"),
                    ("premium_return", "Premium Return"),
                ],
                max_length=32,
            ),
        ),
        migrations.AddConstraint(
            model_name="batchprogress",
            constraint=models.CheckConstraint(
                condition=models.Q(("released_verdict_number__lte", models.F("verdict_number"))),
                name="batch_progress_released_in_order",
            ),
        ),
        migrations.AddConstraint(
            model_name="batchprogress",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("rows_final__gte", 0), ("rows_final__lte", models.F("rows_validated")), ("units_final__gte", 0)
                ),
                name="batch_progress_final_rows_are_validated",
            ),
        ),
        migrations.AddField(
            model_name="anchorrun",
            name="batch",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="anchor_runs", to="workunits.batch"
            ),
        ),
        migrations.AddField(
            model_name="audit",
            name="batch",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="audits",
                to="workunits.batch",
            ),
        ),
        migrations.AddField(
            model_name="audit",
            name="vehicle",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="audits",
                to="workunits.vehicle",
            ),
        ),
        migrations.AddField(
            model_name="anchorrun",
            name="audit",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="anchor_runs",
                to="workunits.audit",
            ),
        ),
        migrations.AddField(
            model_name="batchnotice",
            name="batch",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="notices", to="workunits.batch"
            ),
        ),
        migrations.AddField(
            model_name="clusteredge",
            name="first",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="workunits.owner"
            ),
        ),
        migrations.AddField(
            model_name="clusteredge",
            name="second",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="workunits.owner"
            ),
        ),
        migrations.AddField(
            model_name="modeltolerance",
            name="model",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="tolerances", to="workunits.onnxmodel"
            ),
        ),
        migrations.AddField(
            model_name="ownernetwork",
            name="owner",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="networks", to="workunits.owner"
            ),
        ),
        migrations.AddField(
            model_name="revocation",
            name="audit",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="revocations", to="workunits.audit"
            ),
        ),
        migrations.AddField(
            model_name="revocation",
            name="batch",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="revocations", to="workunits.batch"
            ),
        ),
        migrations.AddField(
            model_name="revocation",
            name="vehicle",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="revocations",
                to="workunits.vehicle",
            ),
        ),
        migrations.AddField(
            model_name="trustevent",
            name="vehicle",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="trust_events", to="workunits.vehicle"
            ),
        ),
        migrations.AddConstraint(
            model_name="vehiclestanding",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "quarantined"), _negated=True),
                    ("quarantined_at__isnull", False),
                    _connector="OR",
                ),
                name="vehicle_standing_quarantined_has_its_time",
            ),
        ),
        migrations.AddField(
            model_name="vehicletrust",
            name="vehicle",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="trust", to="workunits.vehicle"
            ),
        ),
        migrations.AddIndex(
            model_name="audit",
            index=models.Index(fields=["vehicle", "level", "sequence"], name="audit_by_vehicle"),
        ),
        migrations.AddIndex(
            model_name="audit",
            index=models.Index(condition=models.Q(("state", "open")), fields=["vehicle"], name="audit_open_by_vehicle"),
        ),
        migrations.AddIndex(
            model_name="audit",
            index=models.Index(
                condition=models.Q(("auditor_vehicle_id__isnull", False), ("state", "open")),
                fields=["auditor_vehicle_id"],
                name="audit_disputed_by",
            ),
        ),
        migrations.AddIndex(
            model_name="audit",
            index=models.Index(condition=models.Q(("state", "open")), fields=["created_at"], name="audit_open"),
        ),
        migrations.AddIndex(
            model_name="audit",
            index=models.Index(fields=["batch", "state", "reason", "needs"], name="audit_by_batch"),
        ),
        migrations.AddIndex(
            model_name="audit",
            index=models.Index(
                condition=models.Q(("state__in", ["failed", "inconclusive"])),
                fields=["-id"],
                name="audit_disagreement",
            ),
        ),
        migrations.AddIndex(
            model_name="audit",
            index=models.Index(
                condition=models.Q(("settled_at__isnull", True), ("state", "failed")),
                fields=["resolved_at"],
                name="audit_to_settle",
            ),
        ),
        migrations.AddConstraint(
            model_name="audit",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "open")), fields=("batch", "unit_number"), name="audit_one_open_per_unit"
            ),
        ),
        migrations.AddConstraint(
            model_name="audit",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("resolved_at__isnull", True), ("state", "open")),
                    models.Q(models.Q(("state", "open"), _negated=True), ("resolved_at__isnull", False)),
                    _connector="OR",
                ),
                name="audit_resolved_has_its_time",
            ),
        ),
        migrations.AddIndex(
            model_name="anchorrun",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["created_at"], name="anchor_run_waiting"
            ),
        ),
        migrations.AddIndex(
            model_name="anchorrun",
            index=models.Index(
                condition=models.Q(("resolved_at__isnull", True), ("state__in", ["done", "failed"])),
                fields=["done_at"],
                name="anchor_run_to_resolve",
            ),
        ),
        migrations.AddIndex(
            model_name="anchorrun",
            index=models.Index(condition=models.Q(("state", "failed")), fields=["done_at"], name="anchor_run_failed"),
        ),
        migrations.AddConstraint(
            model_name="anchorrun",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ["waiting", "running"])),
                fields=("batch", "unit_number"),
                name="anchor_run_one_under_way_per_unit",
            ),
        ),
        migrations.AddConstraint(
            model_name="anchorrun",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "done"), _negated=True),
                    models.Q(("done_at__isnull", False), ("output_digest__isnull", False)),
                    _connector="OR",
                ),
                name="anchor_run_done_has_its_output",
            ),
        ),
        migrations.AddIndex(
            model_name="batchnotice",
            index=models.Index(fields=["batch", "-at"], name="batch_notice_by_batch"),
        ),
        migrations.AddConstraint(
            model_name="clusteredge",
            constraint=models.UniqueConstraint(fields=("first", "second", "kind"), name="cluster_edge_once"),
        ),
        migrations.AddConstraint(
            model_name="clusteredge",
            constraint=models.CheckConstraint(
                condition=models.Q(("first__lt", models.F("second"))), name="cluster_edge_in_order"
            ),
        ),
        migrations.AddConstraint(
            model_name="modeltolerance",
            constraint=models.UniqueConstraint(
                fields=("model", "comparison_class", "output"), name="model_tolerance_one_per_output"
            ),
        ),
        migrations.AddConstraint(
            model_name="modeltolerance",
            constraint=models.CheckConstraint(
                condition=models.Q(("tolerance__gt", 0)), name="model_tolerance_positive"
            ),
        ),
        migrations.AddIndex(
            model_name="ownernetwork",
            index=models.Index(fields=["prefix_hash"], name="owner_network_by_prefix"),
        ),
        migrations.AddConstraint(
            model_name="ownernetwork",
            constraint=models.UniqueConstraint(fields=("owner", "prefix_hash"), name="owner_network_once"),
        ),
        migrations.AddIndex(
            model_name="revocation",
            index=models.Index(
                condition=models.Q(("done_at__isnull", True)), fields=["batch", "unit_number"], name="revocation_to_do"
            ),
        ),
        migrations.AddIndex(
            model_name="revocation",
            index=models.Index(fields=["vehicle", "sequence"], name="revocation_by_vehicle"),
        ),
        migrations.AddConstraint(
            model_name="revocation",
            constraint=models.UniqueConstraint(fields=("batch", "unit_number", "owner_id"), name="revocation_once"),
        ),
        migrations.AddIndex(
            model_name="trustevent",
            index=models.Index(fields=["vehicle", "-at"], name="trust_event_by_vehicle"),
        ),
        migrations.AddConstraint(
            model_name="vehicletrust",
            constraint=models.UniqueConstraint(
                fields=("vehicle", "level", "model_id", "comparison_class"), name="vehicle_trust_one_per_scope"
            ),
        ),
        migrations.AddConstraint(
            model_name="vehicletrust",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight_microcredits__gte", 0)), name="vehicle_trust_not_negative"
            ),
        ),
        migrations.AddIndex(
            model_name="vehicletrust",
            index=models.Index(
                condition=models.Q(("provisional_since__isnull", False)),
                fields=["provisional_since"],
                name="vehicle_trust_on_hold",
            ),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(
                condition=models.Q(("finality", "provisional"), ("status", "completed")),
                fields=["id"],
                name="batch_completed_early",
            ),
        ),
        migrations.RunSQL(load_sql("schema/0007_verification")),
        *(
            migrations.RunSQL(load_function(name), f"DROP FUNCTION {name}")
            for name in ("find_vehicle", "list_open_batches", "list_batches_to_review")
        ),
        *(
            migrations.RunSQL(load_function("apply_verdicts", lane=lane), f"DROP FUNCTION apply_verdicts_{lane}")
            for lane in range(LANES)
        ),
        # Their parameters have changed, so the old ones must go.
        *(
            migrations.RunSQL(f"DROP FUNCTION {name}; {load_function('sync_vehicle', lane=lane)}")
            for name, lane in [("sync_vehicle", None), *((f"sync_vehicle_{lane}", lane) for lane in range(LANES))]
        ),
    ]
