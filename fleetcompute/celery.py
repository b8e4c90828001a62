"""The Celery application and the periodic tasks that make nudges optional.

Messages only hint that work may be waiting; the database rows are the truth. So every choice here prefers a task
that runs twice or late over one that is stuck.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import task_prerun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetcompute.settings.development")

# Well within the time after which an anchor is taken for gone.
CALL_ANCHORS_SECONDS = 30.0
# Tolerances change slowly; what was learned is the same when it is learned again.
LEARN_SECONDS = 3600.0
# Celery would else close the database connection around every task: what is planned once a connection would be planned
# once a task, which takes longer than most tasks. A new one now and then gives its memory back.
TASKS_A_CONNECTION = 1000

app = Celery("fleetcompute")
# Without this, only the thread that imports this module would know the application: a shared task called in
# another thread of a web server would look for a broker of its own.
app.set_default()
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    task_ignore_result=True,
    timezone="UTC",
    # Taken by anchors' machines alone.
    task_routes={"workunits.tasks.run_anchors": {"queue": "anchor"}},
    # A task is acknowledged when it has ended: a killed worker's tasks run again elsewhere.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=4,
    CELERY_DB_REUSE_MAX=TASKS_A_CONNECTION,
    worker_send_task_events=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    # A web request that nudges gives up soon on a broker that is away.
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0.0, "interval_step": 0.1},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        # Longer than the longest task, or a slow one would be handed to a second worker while it runs.
        "visibility_timeout": 3600,
        # After a broker restart, look for unacknowledged messages every 2 s rather than every 100 s.
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,
        "socket_connect_timeout": 2,
    },
)
app.autodiscover_tasks(["workunits"])


@task_prerun.connect
def leave_a_broken_connection(sender: Any, **_: object) -> None:
    """Let no task begin on a database connection that failed the one before, such as after a restart of PostgreSQL."""
    from django.db import close_old_connections

    if not sender.request.is_eager:
        close_old_connections()


@app.on_after_finalize.connect
def schedule_periodic_tasks(sender: Celery, **_: object) -> None:
    """Give beat its schedule; a tick that no worker took before the next one is due expires."""
    from django.conf import settings

    for name, seconds in (
        ("workunits.tasks.sweep", settings.FLEET.sweep_seconds),
        ("workunits.tasks.settle_credit", settings.FLEET.settle_seconds),
        ("workunits.tasks.compute_clusters", settings.FLEET.cluster_seconds),
        ("workunits.tasks.cap_batches", settings.FLEET.cluster_cap_seconds),
        ("workunits.tasks.watch_fleet", settings.FLEET.watch_seconds),
        ("workunits.tasks.call_anchors", CALL_ANCHORS_SECONDS),
        ("workunits.tasks.learn_tolerances", LEARN_SECONDS),
    ):
        sender.add_periodic_task(seconds, sender.signature(name), name=name, expires=seconds)
