"""The admission service on a real database, real blobs, its real sandbox; the web tier may write what it likes."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import Error, connection, transaction
from onnx import helper

from tests.data.scenes import make_batch, write_npz
from tests.research.onnx_files import WEIGHTS, linear_bytes, model_of
from tests.trust.fleet_keys import NOW, assert_whole, entry

pytestmark = pytest.mark.django_db


@pytest.fixture
def upload(tmp_path):
    """Bring a model as the research API does."""
    from workunits.models import Project
    from workunits.pipeline.intake import admit_model

    def bring(content=None, **options):
        path = tmp_path / "brought.onnx"
        path.write_bytes(linear_bytes() if content is None else content)
        project = Project.objects.create(name="research")
        return admit_model(project_id=project.pk, name="linear", path=path, now=NOW, **options)

    return bring


@pytest.fixture
def start(keys):
    """Start (or start again) a service on the folder's disk."""
    from workunits.pipeline.admission import AdmissionService
    from workunits.store.trust_files import give_order, list_published

    if not list_published():
        for staged in keys.first():
            give_order("publish", content=staged.to_bytes(), now=NOW)

    def begin(**options):
        repository = keys.repository()
        return AdmissionService(repository, **options), repository

    return begin


def at(**shift):
    return lambda: NOW + timedelta(**shift)


def state_of(model):
    model.admission.refresh_from_db()
    return model.admission.state, model.admission.reason


def published():
    from workunits.store.trust_files import list_published

    return list_published()


def test_a_model_is_examined_signed_logged_and_published(upload, start):
    from workunits.store.trust_files import get_trust_file, list_log

    model = upload()
    assert state_of(model) == ("requested", "")
    service, repository = start()
    assert service.run_once(clock=at()) == 3  # root, targets, the model
    assert state_of(model) == ("signed", "")
    target = repository.find(model.blob_id)
    assert (target.length, target.hashes["sha256"]) == (len(linear_bytes()), hashlib.sha256(linear_bytes()).hexdigest())
    assert {name: version for name, _, version in repository.kept.names()} == published()
    for name in published():
        assert get_trust_file(name) == (repository.kept.read(name), published()[name])
    (logged,) = list_log(start=0, limit=10)
    assert (logged["index"], logged["kind"], logged["sha256"]) == (0, "admitted", model.blob_id)
    assert logged["hash"] == target.custom["log"]["hash"] == repository.log.head.hash
    assert service.run_once(clock=at()) == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("flops_per_row", 10**12),
        ("batch_rows", 64),
        ("operators", ["MatMul", "Free"]),
        ("outputs", [{"name": "y", "dtype": "F32", "shape": [3], "comparator": "logits", "tolerance": 1e3}]),
        ("memory_bytes", 10**13),
    ],
)
def test_facts_that_the_web_tier_has_changed_are_found_and_nothing_is_signed(upload, start, column, value):
    from workunits.models import OnnxModel

    model = upload()
    OnnxModel.objects.filter(pk=model.pk).update(**{column: value})
    service, repository = start()
    service.run_once(clock=at())
    assert state_of(model) == ("refused", f"the web tier's {column} is not what the examination found")
    assert repository.find(model.blob_id) is None
    assert repository.log.head.count == 0


def test_a_model_that_the_web_tier_stored_without_examining_it_is_refused(upload, start):
    """A web tier that is taken over writes rows and blobs as it likes: a loop that intake would refuse, say."""
    from tests.research.onnx_files import loop_bytes
    from workunits.models import ModelAdmission, OnnxModel
    from workunits.store.blobs import get_blob_store, record_blob

    model = upload()
    stored = get_blob_store().put_bytes(loop_bytes())
    record_blob(stored, NOW)
    OnnxModel.objects.filter(pk=model.pk).update(blob_id=stored.sha256)
    ModelAdmission.objects.filter(pk=model.pk).update(sha256=stored.sha256)
    service, repository = start()
    service.run_once(clock=at())
    state, reason = state_of(model)
    assert state == "refused"
    assert "Loop" in reason
    assert repository.find(stored.sha256) is None


def test_bytes_that_were_exchanged_in_the_blob_store_are_found(upload, start, tmp_path, settings):
    settings.BLOB_STORE_URL = (tmp_path / "blobs").as_uri()
    model = upload()
    (blob,) = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and model.blob_id in path.name]
    blob.chmod(0o600)
    blob.write_bytes(model_of([], constants={}).SerializeToString())
    service, repository = start()
    service.run_once(clock=at())
    assert state_of(model) == ("refused", "the stored bytes have another hash than the name they are stored under")
    blob.unlink()
    again = upload(linear_bytes() + b"")
    assert again.blob_id == model.blob_id
    service.run_once(clock=at())
    assert state_of(again) == ("signed", "")
    assert repository.find(model.blob_id) is not None


def test_a_web_tier_that_says_signed_has_signed_nothing(upload, start):
    from workunits.models import ModelAdmission

    model = upload()
    ModelAdmission.objects.filter(pk=model.pk).update(state="signed", log_index=0, decided_at=NOW)
    service, repository = start()
    service.run_once(clock=at())
    assert repository.find(model.blob_id) is None
    assert repository.log.head.count == 0


def test_the_web_tier_cannot_widen_the_limits_of_an_examination(upload, start):
    from workunits.models import ModelAdmission
    from workunits.sandbox.admit import admit
    from workunits.sandbox.report import AdmissionLimits

    seen = []

    def watched(path, request):
        seen.append(request)
        return admit(path, request)

    model = upload()
    ModelAdmission.objects.filter(pk=model.pk).update(
        request={"fixed_dims": {}, "batch_rows": 16, "outputs": None, "limits": {"memory_bytes": 2**60}}
    )
    service, _ = start(examine=watched)
    service.run_once(clock=at())
    assert [request.limits for request in seen] == [AdmissionLimits()]
    ModelAdmission.objects.filter(pk=model.pk).update(state="requested", decided_at=None, request=["nonsense"])
    service.run_once(clock=at())
    assert state_of(model) == ("refused", "the request for its admission cannot be read")


def test_the_same_bytes_in_two_projects_are_one_entry_of_the_log(upload, start):
    first, second = upload(), upload(batch_rows=4)
    service, repository = start()
    service.run_once(clock=at())
    assert (state_of(first)[0], state_of(second)[0]) == ("signed", "signed")
    third = upload()
    service.run_once(clock=at())
    assert state_of(third)[0] == "signed"
    assert repository.log.head.count == 1
    assert [model.admission.log_index for model in (first, second, third)] == [0, 0, 0]


def test_an_examination_that_kills_the_service_is_not_repeated_for_ever(upload, start):
    model = upload()

    def deadly(path, request):
        raise SystemExit

    for _ in range(3):
        service, _ = start(examine=deadly)
        with pytest.raises(SystemExit):
            service.run_once(clock=at())
    service, _ = start(examine=deadly)
    service.run_once(clock=at())
    assert state_of(model) == ("refused", "its examination ended the admission service again and again")


def test_an_outage_of_the_blob_store_is_not_held_against_the_models_that_wait(upload, start, monkeypatch):
    from workunits.pipeline import examine

    model = upload()

    def unreachable():
        raise ConnectionError("the blob store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(examine, "get_blob_store", unreachable)
        for _ in range(4):
            service, _ = start()
            with pytest.raises(ConnectionError):
                service.run_once(clock=at())
    assert state_of(model) == ("requested", "")
    service, _ = start()
    service.run_once(clock=at())
    assert state_of(model) == ("signed", "")


def test_a_service_that_died_between_signing_and_publishing_publishes_at_its_next_start(upload, start, monkeypatch):
    from workunits.pipeline import admission

    service, _ = start()
    service.run_once(clock=at())
    before = published()
    model = upload()

    def die(*args, **kwargs):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(admission, "publish_files", die)
        with pytest.raises(SystemExit):
            service.run_once(clock=at())
    assert published() == before
    assert state_of(model)[0] == "requested"
    again, repository = start()
    again.run_once(clock=at())
    assert {name: version for name, _, version in repository.kept.names()} == published() != before
    assert state_of(model)[0] == "signed"
    assert repository.log.head.count == 1
    assert_whole(repository)


# -- orders ----------------------------------------------------------------------------------------------------


def outcome(order_id):
    from workunits.store.trust_files import get_order

    return get_order(order_id).outcome


def order(kind, **options):
    from workunits.store.trust_files import give_order

    return give_order(kind, now=NOW, **options)


def test_a_revoked_model_is_out_for_good_whatever_the_web_tier_asks(upload, start, keys):
    from workunits.store.admissions import ask_again
    from workunits.store.trust_files import list_log

    model = upload()
    service, repository = start()
    service.run_once(clock=at())
    number = order("revoke", sha256=model.blob_id)
    service.run_once(clock=at())
    assert outcome(number) == "done: no car will run it"
    assert state_of(model) == ("revoked", "revoked by an operator")
    assert repository.find(model.blob_id) is None
    assert [line["kind"] for line in list_log(start=0, limit=10)] == ["admitted", "revoked"]

    ask_again(model.blob_id, now=NOW)
    service.run_once(clock=at())
    assert state_of(model) == ("revoked", "revoked by an operator")
    assert repository.find(model.blob_id) is None

    keys.folder.write_denied(set())  # whoever has the folder may change his mind
    ask_again(model.blob_id, now=NOW)
    service.run_once(clock=at())
    assert state_of(model) == ("signed", "")
    assert repository.find(model.blob_id).custom["log"]["index"] == 2


def test_a_model_can_be_revoked_before_anybody_brings_it(upload, start):
    service, repository = start()
    sha256 = hashlib.sha256(linear_bytes()).hexdigest()
    number = order("revoke", sha256=sha256)
    service.run_once(clock=at())
    assert outcome(number) == "done: it was not admitted, and will not be"
    model = upload()
    service.run_once(clock=at())
    assert state_of(model)[0] == "revoked"
    assert repository.find(sha256) is None


def test_a_stopped_fleet_admits_nothing_until_it_is_resumed_in_the_folder(upload, start, keys):
    service, repository = start()
    service.run_once(clock=at())
    number = order("stop")
    model = upload()
    service.run_once(clock=at())
    assert outcome(number) == "done: the fleet is stopped"
    assert state_of(model)[0] == "requested"
    version = published()["timestamp.json"]
    service.run_once(clock=at(days=2))
    assert published()["timestamp.json"] == version
    keys.folder.resume()
    service.run_once(clock=at(days=2))
    assert published()["timestamp.json"] > version
    assert state_of(model)[0] == "signed"
    assert repository.kept.timestamp.signed.expires > NOW + timedelta(days=2)


def test_a_change_that_was_published_while_the_fleet_was_stopped_survives_a_restart_and_the_resumption(start, keys):
    """As after a theft: stop, other keys, a new start, resume. What cars fetch then must be what was signed last."""
    from workunits.store.trust_files import get_trust_file
    from workunits.trust.offline import next_targets

    service, repository = start()
    service.run_once(clock=at())
    order("stop")
    service.run_once(clock=at())
    staged = next_targets(repository.kept.targets.signed, now=NOW)
    staged.in_force = repository.kept.root
    order("publish", content=keys.sign(staged).to_bytes())
    service.run_once(clock=at())
    keys.folder.resume()
    service, repository = start()
    service.run_once(clock=at(minutes=5))
    assert repository.kept.timestamp.signed.expires == NOW + timedelta(hours=12, minutes=5)
    for name, _, _ in repository.kept.names():
        published = get_trust_file(name)
        assert published is not None, name
        assert published[0] == repository.kept.read(name), name
    assert_whole(repository)


def test_a_model_that_was_logged_before_a_power_cut_can_be_revoked_after_it(start, keys):
    service, repository = start()
    service.run_once(clock=at())
    repository.log.append([entry(repository.log.head, 1)])
    service, repository = start()
    number = order("revoke", sha256=f"{1:064x}")
    service.run_once(clock=at())
    service.run_once(clock=at())
    assert outcome(number) == "done: no car will run it"
    assert repository.find(f"{1:064x}") is None
    assert repository.log.head.count == 2


def test_a_publication_with_too_few_signatures_is_refused_by_the_service_itself(start, keys):
    from workunits.trust.offline import next_root

    service, repository = start()
    service.run_once(clock=at())
    before = published()
    staged = next_root(repository.kept.root.signed, now=NOW)
    staged.in_force = repository.kept.root
    number = order("publish", content=keys.sign(staged, "alice").to_bytes())
    junk = order("publish", content=b"\x00 not a change")
    service.run_once(clock=at())
    assert outcome(number).startswith("refused: root version 2 has 1 of 2 signatures; not signed yet by: bob, carol")
    assert outcome(junk).startswith("refused: this is not a staged change")
    assert published() == before


def test_replaced_files_stay_a_day_for_cars_that_have_begun_to_read(upload, start):
    from workunits.store.trust_files import get_trust_file

    service, _ = start()
    service.run_once(clock=at())
    upload()
    service.run_once(clock=at())
    assert "1.snapshot.json" not in published()
    assert get_trust_file("1.snapshot.json") is not None
    service.run_once(clock=at(hours=25))
    assert get_trust_file("1.snapshot.json") is None
    assert get_trust_file("1.root.json") is not None


# -- the public log --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement", ["UPDATE admission_log SET kind = 'x'", "DELETE FROM admission_log", "TRUNCATE admission_log"]
)
def test_the_database_refuses_to_change_or_remove_a_log_entry(upload, start, statement):
    upload()
    service, _ = start()
    service.run_once(clock=at())
    with pytest.raises(Error, match="never changed or removed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_log_entry_that_was_slipped_in_stops_the_service(upload, start):
    from workunits.models import AdmissionLogEntry
    from workunits.trust.log import LogBroken

    upload()
    service, _ = start()
    service.run_once(clock=at())
    AdmissionLogEntry.objects.create(
        index=1, kind="admitted", sha256="0" * 64, size_bytes=1, admitted_at="", facts_sha256="", previous="", hash=""
    )
    with pytest.raises(LogBroken, match="the public log has 2 entries, 1 were signed: somebody has added some"):
        service.run_once(clock=at())


# -- dispatch waits --------------------------------------------------------------------------------------------


@pytest.fixture
def batch(upload, tmp_path):
    import numpy as np

    model = upload()
    path = write_npz(Path(tmp_path) / "x.npz", x=np.zeros((10, 4), np.float32))
    return make_batch(model, path, rows=10, unit_rows=5)


def split(batch):
    from workunits.pipeline.split import split_batch

    done = split_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    return done, batch.status, batch.status_reason


def test_a_batch_waits_for_its_model_and_starts_once_it_is_signed(batch, start, settings):
    settings.FLEET_ADMISSION_REQUIRED = True
    assert split(batch) == (False, "queued", "awaiting_admission")
    assert batch.units_total == 0
    service, _ = start()
    service.run_once(clock=at())
    assert split(batch) == (True, "in_progress", "")
    assert batch.units_total > 0


def test_a_batch_whose_model_was_refused_fails_with_the_reason(batch, start, settings):
    from workunits.models import OnnxModel

    settings.FLEET_ADMISSION_REQUIRED = True
    OnnxModel.objects.filter(pk=batch.model_id).update(flops_per_row=1)
    service, _ = start()
    service.run_once(clock=at())
    reason = "The model was not admitted: the web tier's flops_per_row is not what the examination found"
    assert split(batch) == (False, "failed", reason)


def test_batches_of_a_revoked_model_are_cancelled_and_others_go_on(batch, upload, start, tmp_path):
    import numpy as np

    from workunits.pipeline.recover import cancel_batches

    path = write_npz(Path(tmp_path) / "other.npz", x=np.zeros((10, 4), np.float32))
    twice = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], constants={"w": 2 * WEIGHTS})
    other = make_batch(upload(twice.SerializeToString()), path, rows=10, unit_rows=5)
    assert split(batch)[1] == split(other)[1] == "in_progress"
    service, _ = start()
    service.run_once(clock=at())
    cancel_batches(now=NOW)
    order("revoke", sha256=batch.model.blob_id)
    service.run_once(clock=at())
    cancel_batches(now=NOW)
    for each in (batch, other):
        each.refresh_from_db()
    assert (batch.status, batch.status_reason) == ("cancelled", "the model was revoked")
    assert (other.status, other.status_reason) == ("in_progress", "")


def test_a_queue_longer_than_one_signing_blames_nobody_for_waiting(upload, start, monkeypatch):
    from workunits.pipeline import admission

    monkeypatch.setattr(admission, "MODELS_PER_SIGNING", 1)
    models = [upload() for _ in range(5)]
    service, _ = start()
    for _ in models:
        service.run_once(clock=at())
    assert {state_of(model) for model in models} == {("signed", "")}
    assert {model.admission.attempts for model in models} == {1}


def test_a_batch_does_not_wait_where_admission_is_not_required(batch, settings):
    settings.FLEET_ADMISSION_REQUIRED = False
    assert split(batch) == (True, "in_progress", "")


def test_the_rights_in_the_guide_are_enough_for_both_tiers_and_no_more(upload, start, keys, settings):
    guide = (Path(settings.BASE_DIR) / "docs" / "how-to" / "keep-the-keys.md").read_text()
    rights = [line.strip() for line in guide.splitlines() if line.startswith(("    GRANT ", "    REVOKE "))]
    assert len(rights) > 4
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE fleet_admission; CREATE ROLE fleet_web")
        cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO fleet_web")
        cursor.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO fleet_web")
        cursor.execute("; ".join(rights))

    def as_role(name):
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {name}")

    as_role("fleet_web")
    model = upload()
    for staged in keys.first():
        order("publish", content=staged.to_bytes())
    order("revoke", sha256="0" * 64)
    for statement in (
        "UPDATE trust_file SET content = ''",
        "UPDATE model_admission SET state = 'signed', log_index = 0, decided_at = now()",
        "DELETE FROM trust_order",
        "INSERT INTO admission_log VALUES (0, '', '', 0, '', '', '', '')",
    ):
        with pytest.raises(Error, match="permission denied"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    as_role("fleet_admission")
    service, _ = start()
    service.run_once(clock=at())
    assert state_of(model) == ("signed", "")
    for statement in (
        "UPDATE model SET name = ''",
        "SELECT public_key FROM vehicle",
        "INSERT INTO trust_order DEFAULT VALUES",
    ):
        with pytest.raises(Error, match="permission denied"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    as_role("none")
