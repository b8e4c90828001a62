"""The claim, with real processes: a web server, an admission service apart from it, and a car that runs models.

Taking over the web tier cannot add a model: whoever has it may write any row and sign with the director key, and the
car hands the work back.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from django.db import connection

from fleetclient.identity import Identity
from tests.data.scenes import write_npz
from tests.research.onnx_files import WEIGHTS, linear_bytes, model_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 90.0


@pytest.fixture
def web(live_server, settings, tmp_path):
    """The web tier at a real port, paced for a test, with a blob store that both tiers reach."""
    from workunits.pipeline import dispatch

    dispatch._board.cache_clear()
    settings.FLEET = dataclasses.replace(
        settings.FLEET, sync_seconds_working=0.2, sync_seconds_idle=0.2, dispatch_board_seconds=0.01
    )
    settings.FLEET_ADMISSION_REQUIRED = True
    settings.BLOB_STORE_URL = (tmp_path / "blobs").as_uri()
    yield live_server.url
    dispatch._board.cache_clear()


@pytest.fixture
def service(web, tmp_path):
    """The admission service as a process of its own; it shares the database and the blobs, and nothing else."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "BLOB_STORE_URL": (tmp_path / "blobs").as_uri(),
        "FLEET_HOME": str(tmp_path / "home"),
        "FLEET_ADMISSION_FOLDER": str(tmp_path / "home" / "admission"),
    }
    argv = [sys.executable, "manage.py", "admission_service", "--settings=fleetcompute.settings.admission"]
    log = tmp_path / "admission.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*argv, "--accept-weak-sandbox", "--bin-bits=2", "--poll-seconds=0.2", f"--demo-origin={web}"],
            cwd=ROOT, env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    yield tmp_path / "home" / "admission"
    process.terminate()
    assert process.wait(30) == 0, log.read_text()


@pytest.fixture
def car(web, tmp_path):
    """A paired car as a process; its log by event."""
    from django.conf import settings

    from fleetcompute.api.vehicle.signing import get_director
    from tests.engine.factories import make_owner
    from workunits.models import Vehicle, VehiclePresence

    folder = tmp_path / "car"
    identity = Identity(folder / "state" / "identity")
    vehicle = Vehicle.objects.create(owner=make_owner(), name="car", public_key=identity.public_key)
    VehiclePresence.objects.create(vehicle=vehicle)
    director = get_director(settings.FLEET_DIRECTOR_KEY).public_key
    identity.remember_pairing(vehicle_id=vehicle.public_id, director_key=director)
    config = folder / "car.toml"
    config.write_text(
        f'server = "{web}"\nstate_dir = "state"\ncache_dir = "state/cache"\nlog_level = "debug"\n'
        "[simulation]\nspeed = 1.0\n[status]\nport = 0\n"
    )
    with (folder / "car.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fleetclient", "run", "--config", str(config)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "client")}, stdout=output, stderr=output,
        )  # fmt: skip
    yield folder / "car.log"
    process.terminate()
    process.wait(30)


def bring(tmp_path, content):
    """A model and a batch of ten rows over it, as intake takes them."""
    from django.utils import timezone

    from workunits.models import Project
    from workunits.pipeline.intake import admit_model, register_dataset, submit_batch

    path = tmp_path / "brought.onnx"
    path.write_bytes(content)
    project = Project.objects.create(name="research")
    now = timezone.now()
    model = admit_model(project_id=project.pk, name="linear", path=path, batch_rows=5, now=now)
    table = write_npz(tmp_path / "x.npz", x=np.ones((10, 4), np.float32))
    dataset = register_dataset(project_id=project.pk, name="ten", format="npz", path=table, now=now)
    return submit_batch(
        project_id=project.pk,
        model_public_id=model.public_id,
        dataset_public_id=dataset.public_id,
        quorum=1,
        now=now,
    )


def wait_for(condition, batch, log):
    """Run the sweep, as beat does, until something has happened."""
    from workunits.tasks import sweep

    give_up_at = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, (batch.status, batch.status_reason, log.read_text()[-3000:])
        sweep()
        time.sleep(0.1)
        batch.refresh_from_db()


def events(log, name):
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def test_a_model_that_was_brought_is_signed_apart_from_the_web_and_a_car_runs_it(web, service, car, tmp_path):
    batch = bring(tmp_path, linear_bytes())
    wait_for(lambda: batch.status == "completed", batch, car)
    assert batch.outcome == "full"
    assert events(car, "stored")
    admission = batch.model.admission
    assert (admission.state, admission.log_index, admission.attempts) == ("signed", 0, 1)
    if os.geteuid() == 0:
        assert_closed_to(service, "nobody")


def assert_closed_to(folder, user):
    """Another user of the machine, such as the web server's, can neither list the folder nor read a key in it."""
    uid = pwd.getpwnam(user).pw_uid
    for path in (folder, folder / "keys", folder / "keys" / "models-1.pem"):
        look = ["/bin/cat" if path.suffix else "/bin/ls", str(path)]
        tried = subprocess.run(look, user=uid, capture_output=True, check=False)
        assert tried.returncode != 0, path
        assert b"Permission denied" in tried.stderr


def test_a_web_tier_that_is_taken_over_leases_its_own_model_and_the_car_hands_it_back(web, service, car, tmp_path):
    """Every row says that the model is signed, and the director signs the lease; the repository does not list it."""
    from workunits.models import ModelAdmission
    from workunits.pipeline.split import split_batch

    honest = bring(tmp_path, linear_bytes())
    wait_for(lambda: honest.status == "completed", honest, car)
    twice = model_of([_matmul()], constants={"w": 2 * WEIGHTS}).SerializeToString()
    pushed = bring_unseen(tmp_path, twice)
    ModelAdmission.objects.update_or_create(
        model=pushed.model,
        defaults={
            "sha256": pushed.model.blob_id,
            "request": {},
            "state": "signed",
            "log_index": 0,
            "decided_at": pushed.created_at,
        },
    )
    assert split_batch(batch_id=pushed.id, now=pushed.created_at)
    wait_for(lambda: _errors(pushed), pushed, car)
    with connection.cursor() as cursor:
        cursor.execute("SELECT state, reason FROM replica WHERE batch_id = %s", [pushed.id])
        replicas = cursor.fetchall()
    assert replicas
    assert {(state, reason) for state, reason in replicas} <= {("ERRORED", "not_admitted"), ("LEASED", "")}
    pushed.refresh_from_db()
    assert pushed.progress.rows_validated == 0
    assert not (car.parent / "state" / "cache" / pushed.model.blob_id).exists()


def bring_unseen(tmp_path, content):
    """What `bring` does, before the admission service can see that there is a model: it is asked for nothing."""
    from django.db import transaction

    from workunits.models import ModelAdmission

    with transaction.atomic():
        batch = bring(tmp_path, content)
        ModelAdmission.objects.filter(model=batch.model).delete()
    return batch


def _errors(batch):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM replica WHERE batch_id = %s AND state = 'ERRORED'", [batch.id])
        return cursor.fetchone()[0]


def _matmul():
    from onnx import helper

    return helper.make_node("MatMul", ["x", "w"], ["y"], name="project")
