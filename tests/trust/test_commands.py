"""The ceremony as operators hold it: keys, signatures on separate days, publication, rotation, release, stop."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from workunits.management import trust

pytestmark = pytest.mark.django_db

PEOPLE = ("alice", "bob", "carol")
QUICK = ("--bin-bits", 2, "--accept-weak-sandbox")


def manage(command, *arguments, **options):
    out = io.StringIO()
    call_command(command, *[str(argument) for argument in arguments], stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(trust.PASSWORD_VARIABLE, "four short dry words")
    return tmp_path


@pytest.fixture
def serve(place):
    """Let the admission service do what waits."""

    def run():
        manage("admission_service", "--once", *QUICK, "--folder", place / "admission")

    return run


@pytest.fixture
def started(place, serve):
    for name in PEOPLE:
        manage("trust_key", place / f"{name}.pem", "--name", name)
    manage("trust_init", "--online", "--folder", place / "admission")
    pubs = [place / f"{name}.pub" for name in PEOPLE]
    bundle = place / "admission" / "public-1.json"
    manage("trust_init", "--bundle", bundle, "--root-key", *pubs, "--origin", "https://fleet.example", "--out", place)
    publish(place, serve, "root", "targets")


def publish(place, serve, *roles, people=PEOPLE[:2]):
    staged = [place / f"{role}.staged.json" for role in roles]
    for path in staged:
        for name in people:
            manage("trust_sign", path, "--key", place / f"{name}.pem")
    manage("trust_publish", *staged, "--wait-seconds", 0)
    serve()


def published(role):
    from workunits.store.trust_files import list_published

    return max(version for name, version in list_published().items() if f".{role}." in name or name == f"{role}.json")


def test_from_nothing_to_a_published_repository(started, place, caplog):
    said = manage("trust_status")
    assert not [record for record in caplog.records if "No signature" in record.message], "two of three is enough"
    assert "root       version 1" in said
    assert "(12.0 h left)" in said
    assert "log         0 entries, head -" in said
    assert (published("root"), published("targets"), published("timestamp")) == (1, 1, 1)
    assert trust.read_target("client/config.json")["origins"] == ["https://fleet.example"]
    assert b"ENCRYPTED" in (place / "alice.pem").read_bytes()


def test_one_signature_is_not_enough_to_publish_anything(started, place):
    manage("trust_config", "--refresh-seconds", 60, "--out", place / "targets.staged.json")
    manage("trust_sign", place / "targets.staged.json", "--key", place / "alice.pem")
    with pytest.raises(CommandError, match="has 1 of 2 signatures; not signed yet by: bob, carol"):
        manage("trust_publish", place / "targets.staged.json")
    assert published("targets") == 1


def test_a_signer_sees_the_change_before_he_signs(started, place):
    manage("trust_config", "--origin", "https://a.example", "--out", place / "targets.staged.json")
    said = manage("trust_sign", place / "targets.staged.json")
    assert '"https://a.example"' in said
    assert "has 0 of 2 signatures" in said


def test_a_stick_that_is_full_does_not_lose_the_signatures_it_had(started, place):
    path = place / "targets.staged.json"
    manage("trust_rotate", "targets", "--out", place)
    manage("trust_sign", path, "--key", place / "alice.pem")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            manage("trust_sign", path, "--key", place / "bob.pem")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before


def test_what_a_configuration_does_not_name_stays(started, place, serve):
    manage("trust_config", "--egress-bytes-per-day", 1000, "--out", place / "targets.staged.json")
    publish(place, serve, "targets")
    config = trust.read_target("client/config.json")
    assert (config["origins"], config["egress_bytes_per_day"]) == (["https://fleet.example"], 1000)


def test_a_release_is_rolled_out_ring_by_ring(started, place, serve):
    wheel = place / "fleetcompute_client-0.3.0-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    for ring in (5.0, 100.0):
        manage("trust_release", wheel, "--ring", ring, "--out", place / "targets.staged.json")
        publish(place, serve, "targets")
        line = trust.read_target("client/channels.json")["channels"]["stable"]
        assert (line["version"], line["ring_percent"], line["target"]) == ("0.3.0", ring, f"client/{wheel.name}")
    assert published("targets") == 3


def test_a_person_leaves_and_another_comes(started, place, serve):
    manage("trust_key", place / "dora.pem", "--name", "dora")
    keys = [place / f"{name}.pub" for name in ("bob", "carol", "dora")]
    manage("trust_rotate", "root", "--keys", *keys, "--out", place)
    publish(place, serve, "root", people=("bob", "carol"))  # two of the old ones and two of the new ones
    manage("trust_rotate", "targets", "--keys", *keys, "--out", place)
    publish(place, serve, "targets", "root", people=("bob", "carol"))
    assert (published("root"), published("targets")) == (3, 2)
    manage("trust_rotate", "targets", "--out", place)
    with pytest.raises(CommandError, match="does not sign targets"):
        manage("trust_sign", place / "targets.staged.json", "--key", place / "alice.pem")
    publish(place, serve, "targets", people=("bob", "dora"))
    assert published("targets") == 3


def test_everybody_who_signs_targets_is_replaced_at_once(started, place, serve):
    new = ("dora", "emil", "fay")
    for name in new:
        manage("trust_key", place / f"{name}.pem", "--name", name)
    manage("trust_rotate", "targets", "--keys", *(place / f"{name}.pub" for name in new), "--out", place)
    for name in ("alice", "bob"):
        for role in ("targets", "root"):
            manage("trust_sign", place / f"{role}.staged.json", "--key", place / f"{name}.pem")
    with pytest.raises(
        CommandError, match="targets version 2 has 0 of 2 signatures; not signed yet by: dora, emil, fay"
    ):
        manage("trust_publish", place / "targets.staged.json")
    for name in ("dora", "emil"):
        manage("trust_sign", place / "targets.staged.json", "--key", place / f"{name}.pem")
    manage("trust_publish", place / "root.staged.json", place / "targets.staged.json", "--wait-seconds", 0)
    serve()
    assert (published("root"), published("targets")) == (2, 2)


def test_a_root_whose_keys_have_not_signed_the_targets_in_force_would_strand_every_car(started, place, serve):
    new = ("dora", "emil", "fay")
    for name in new:
        manage("trust_key", place / f"{name}.pem", "--name", name)
    manage("trust_rotate", "targets", "--keys", *(place / f"{name}.pub" for name in new), "--out", place)
    publish(place, serve, "root")
    from workunits.models import TrustOrder

    assert "lack signatures of the new root's keys" in TrustOrder.objects.latest("id").outcome
    assert published("root") == 1


def test_the_services_keys_are_replaced(started, place, serve):
    manage("trust_init", "--online", "--folder", place / "admission")
    manage("trust_rotate", "online", "--bundle", place / "admission" / "public-2.json", "--out", place)
    publish(place, serve, "root", "targets")
    assert (published("root"), published("targets")) == (2, 2)
    assert "snapshot-2" in "".join(manage("trust_sign", place / "root.staged.json"))


def test_a_lost_folder_is_rebuilt_from_what_was_published_and_gets_new_keys(started, place, serve):
    from tests.trust.fleet_keys import NOW, entry
    from workunits.pipeline.admission import AdmissionService
    from workunits.trust.folder import AdmissionFolder
    from workunits.trust.repository import Repository

    repository = Repository(AdmissionFolder(place / "admission"))
    for number, kind in ((1, "admitted"), (2, "admitted"), (2, "revoked"), (3, "admitted")):
        repository.sign([entry(repository.log.head, number, kind=kind)], now=NOW)
    manage("trust_revoke_model", f"{4:064x}")
    AdmissionService(repository).run_once(clock=lambda: NOW)
    (place / "admission").rename(place / "lost")
    manage("trust_init", "--restore", "--folder", place / "admission")
    manage("trust_revoke_model", f"{3:064x}")
    serve()  # it waits for people
    manage("trust_rotate", "online", "--bundle", place / "admission" / "public-1.json", "--out", place)
    publish(place, serve, "root", "targets")
    assert (published("root"), published("targets")) == (2, 2)
    restored = Repository(AdmissionFolder(place / "admission"))
    assert restored.find(f"{1:064x}") is not None
    assert restored.find(f"{3:064x}") is None, "an order that came before the keys has waited for them"
    assert restored.log.head.count == repository.log.head.count + 1
    assert restored.folder.read_denied() == {f"{n:064x}" for n in (2, 3, 4)}, "what was revoked stays out"
    with pytest.raises(CommandError, match="is not empty"):
        manage("trust_init", "--restore", "--folder", place / "admission")


def test_an_empty_folder_does_not_replace_what_was_published(started, place, serve):
    """An operator who makes new keys where he should have restored: cars could never follow another first root."""
    from workunits.store.trust_files import list_published

    (place / "admission").rename(place / "lost")
    manage("trust_init", "--online", "--folder", place / "admission")
    before = list_published()
    with pytest.raises(CommandError, match="trust_init --restore"):
        serve()
    bundle = place / "admission" / "public-1.json"
    pubs = [place / f"{name}.pub" for name in PEOPLE]
    manage("trust_init", "--bundle", bundle, "--root-key", *pubs, "--out", place)
    with pytest.raises(CommandError, match="trust_init --restore"):
        publish(place, serve, "root", "targets")
    assert list_published() == before


def test_a_published_copy_that_was_spoilt_is_not_restored(started, place):
    from workunits.models import TrustFile

    (place / "admission").rename(place / "lost")
    name = "1.bin-0.json"
    content = bytes(TrustFile.objects.get(name=name).content)
    TrustFile.objects.filter(name=name).update(content=content.replace(b'"targets":{}', b'"targets":{"models/x":{}}'))
    with pytest.raises(CommandError, match="cannot be believed"):
        manage("trust_init", "--restore", "--folder", place / "admission")
    assert not list((place / "admission" / "repository").iterdir())


def test_an_old_backup_of_the_folder_is_not_gone_on_with(started, place, serve):
    import shutil

    shutil.copytree(place / "admission", place / "backup")
    manage("trust_config", "--refresh-seconds", 60, "--out", place / "targets.staged.json")
    publish(place, serve, "targets")
    shutil.rmtree(place / "admission")
    (place / "backup").rename(place / "admission")
    with pytest.raises(CommandError, match="must be an old backup"):
        serve()
    assert published("targets") == 2


@pytest.mark.parametrize("name", ["1.root.json", "1.targets.json"])
def test_nobody_is_asked_to_sign_on_top_of_a_copy_that_the_web_tier_has_changed(started, place, name):
    from workunits.models import TrustFile

    content = bytes(TrustFile.objects.get(name=name).content)
    TrustFile.objects.filter(name=name).update(content=content.replace(b'"version":1', b'"version":1 ,"x":1'))
    for command in ("trust_config", "trust_rotate"):
        arguments = ["--refresh-seconds", 60] if command == "trust_config" else ["targets"]
        with pytest.raises(CommandError, match="cannot be believed, somebody has changed it"):
            manage(command, *arguments, "--out", place / "new")
    assert not (place / "new").exists()


def test_a_configuration_that_the_web_tier_has_changed_is_not_built_on(started, place):
    from workunits.models import TrustFile

    (shown,) = TrustFile.objects.filter(name__startswith="targets/client/", name__endswith=".config.json")
    changed = bytes(shown.content).replace(b"fleet.example", b"thief.example")
    TrustFile.objects.filter(name=shown.name).update(content=changed)
    with pytest.raises(CommandError, match="is not the file that was signed"):
        manage("trust_config", "--refresh-seconds", 60, "--out", place / "new")
    assert not (place / "new").exists()


def test_what_is_staged_says_which_fleet_it_is_for_and_makes_its_folder(started, place):
    said = manage("trust_rotate", "root", "--out", place / "not" / "there")
    assert (place / "not" / "there" / "root.staged.json").exists()
    (line,) = [line for line in manage("trust_status").splitlines() if "first root" in line]
    assert line.split()[-1] in said


def test_a_wheel_that_is_not_there_is_one_sentence(started, place):
    with pytest.raises(CommandError, match=r"c-1\.0-py3-none-any\.whl: No such file"):
        manage("trust_release", place / "c-1.0-py3-none-any.whl")


def test_what_a_killed_service_was_examining_is_removed_by_the_next_one(started, place, serve):
    left = place / "admission" / "examining-killed"
    left.mkdir()
    (left / "model.onnx").write_bytes(bytes(1000))
    serve()
    assert not left.exists()


def test_stop_and_resume(started, place, serve):
    assert "Ordered" in manage("trust_stop")
    serve()
    assert "(0.0 h left)" in manage("trust_status")
    manage("trust_stop", "--resume", "--folder", place / "admission")
    serve()
    assert "(12.0 h left)" in manage("trust_status")


def test_a_stop_that_nobody_has_obeyed_yet_does_not_follow_the_resumption(started, place, serve):
    manage("trust_stop")
    manage("trust_stop", "--resume", "--folder", place / "admission")
    serve()
    assert "(12.0 h left)" in manage("trust_status")
    assert "open orders: 0" in manage("trust_status")


def test_a_model_that_was_revoked_before_anybody_brought_it_can_be_allowed_again(started, place, serve):
    from workunits.trust.folder import AdmissionFolder

    manage("trust_revoke_model", "0" * 64)
    serve()
    said = manage("trust_admit", "0" * 64, "--again", "--folder", place / "admission")
    assert said == "It is not revoked any more; no researcher has brought it yet.\n"
    assert AdmissionFolder(place / "admission").read_denied() == set()


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        ("trust_revoke_model", ["abc"], "64 hexadecimal digits"),
        ("trust_admit", ["0" * 64], "no researcher has brought a model"),
        ("trust_status", [], "no root is published yet"),
        ("trust_sign", ["/nonexistent"], "cannot be read"),
        ("admission_service", ["--folder", "/nonexistent", "--once"], "trust_init --online"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(command, arguments, sentence):
    with pytest.raises(CommandError, match=sentence):
        manage(command, *arguments)


def test_the_service_refuses_a_folder_that_others_can_read(started, place):
    (place / "admission").chmod(0o755)
    with pytest.raises(CommandError, match="whoever reads it can sign models"):
        manage("admission_service", "--once", "--folder", place / "admission")


def test_the_service_refuses_to_examine_where_a_model_could_reach_its_keys(started, place, monkeypatch):
    from workunits.pipeline.examine import list_sandbox_locks

    assert "rlimits" in list_sandbox_locks()
    service = "workunits.management.commands.admission_service.list_sandbox_locks"
    monkeypatch.setattr(service, lambda: frozenset({"rlimits", "seccomp"}))
    with pytest.raises(CommandError, match="this kernel has no Landlock"):
        manage("admission_service", "--once", "--folder", place / "admission")
    manage("admission_service", "--once", "--folder", place / "admission", "--accept-weak-sandbox")


def test_the_service_refuses_a_pooler_that_would_lose_its_lock(started, place, settings):
    settings.DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
    try:
        with pytest.raises(CommandError, match="connect to PostgreSQL itself"):
            manage("admission_service", "--once", *QUICK, "--folder", place / "admission")
    finally:
        settings.DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = False


def test_a_demonstration_starts_by_itself_and_learns_new_addresses(place, settings):
    settings.FLEET_HOME = place
    for origin, version in (("http://127.0.0.1:1", 1), ("http://127.0.0.1:2", 2), ("http://127.0.0.1:2", 2)):
        manage("admission_service", "--once", "--bin-bits", 2, "--folder", place / "admission", "--demo-origin", origin)
        assert published("targets") == version
    assert trust.read_target("client/config.json")["origins"] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]


def test_the_service_holds_none_of_the_web_tiers_keys():
    """Nor does it where they lie in its environment: its settings replace them before anything reads them."""
    script = (
        "import django; django.setup(); from django.conf import settings as s;"
        "print(s.FLEET_DIRECTOR_KEY.hex(), s.FLEET_TOKEN_KEY.hex(), s.SECRET_KEY)"
    )
    secret = {"FLEET_DIRECTOR_KEY": "d1" * 32, "FLEET_TOKEN_KEY": "d2" * 16, "FLEET_SECRET_KEY": "d3" * 32}
    environment = {**os.environ, **secret, "DJANGO_SETTINGS_MODULE": "fleetcompute.settings.admission"}
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=root, capture_output=True, text=True, check=True
    ).stdout.split()
    assert [len(text) for text in found] == [64, 32, 64]
    assert not set(found) & set(secret.values())


def test_an_offline_machine_without_a_database_makes_keys_stages_the_start_and_signs(tmp_path):
    """Nor does a missing terminal end in a stack trace: the sentence says what to set."""
    root = Path(__file__).parents[2]
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLEET_", "DATABASE_", "DJANGO_"))
    }

    def run(*arguments, **variables):
        return subprocess.run(
            [sys.executable, root / "manage.py", *arguments],
            env={**bare, "FLEET_HOME": str(tmp_path / "no-fleet"), **variables},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            capture_output=True,
            text=True,
            check=False,
        )

    refused = run("trust_key", "alice.pem", "--name", "alice")
    assert refused.returncode == 1
    assert "there is no terminal to ask for the password; set FLEET_TRUST_PASSWORD" in refused.stderr
    assert not (tmp_path / "alice.pem").exists()
    secret = {trust.PASSWORD_VARIABLE: "four short dry words"}
    for done in (
        run("trust_key", "alice.pem", "--name", "alice", **secret),
        run("trust_init", "--online", "--folder", "admission"),
        run(
            "trust_init",
            "--bundle",
            "admission/public-1.json",
            "--root-key",
            "alice.pub",
            "--root-threshold",
            "1",
            "--targets-threshold",
            "1",
            "--out",
            "staged",
        ),
        run("trust_sign", "staged/root.staged.json", "--key", "alice.pem", **secret),
        run("trust_sign", "staged/targets.staged.json", "--key", "alice.pem", **secret),
    ):
        assert done.returncode == 0, done.stderr
    assert "It has all the signatures it needs." in done.stdout


def test_a_channel_that_no_car_asks_for_is_refused(started, place):
    with pytest.raises(CommandError, match="invalid choice: 'nightly'"):
        manage("trust_release", place / "fleetcompute_client-0.3.0-py3-none-any.whl", "--channel", "nightly")


def test_keys_whose_making_was_cut_off_or_whose_bundle_was_moved_do_not_stand_in_the_way(place):
    manage("trust_init", "--online", "--folder", place / "admission")
    (place / "admission" / "public-1.json").rename(place / "taken-along.json")
    manage("trust_init", "--online", "--folder", place / "admission")
    (place / "admission" / "keys" / "snapshot-2.pub").unlink()
    (place / "admission" / "public-2.json").unlink()
    said = manage("trust_init", "--online", "--folder", place / "admission")
    assert "public-3.json" in said
    keys = {path.name for path in (place / "admission" / "keys").glob("*.pem")}
    assert keys == {f"{role}-{number}.pem" for role in ("models", "snapshot", "timestamp") for number in (1, 2, 3)}


def test_a_key_is_not_made_beside_another_keys_public_half(place):
    (place / "alice.pub").write_text("somebody's")
    with pytest.raises(CommandError, match=r"alice\.pub exists already"):
        manage("trust_key", place / "alice.pem", "--name", "alice")
    assert not (place / "alice.pem").exists()


def test_a_demonstration_whose_first_start_was_killed_starts_again(place, settings):
    settings.FLEET_HOME = place
    manage("trust_init", "--online", "--folder", place / "admission")
    (place / "admission" / "public-1.json").unlink()
    (place / "offline-keys").mkdir(mode=0o700)
    manage("trust_key", place / "offline-keys" / "alice.pem", "--name", "alice", "--unencrypted")
    (place / "offline-keys" / "bob.pem").write_text("half a key")
    origin = "http://127.0.0.1:1"
    manage("admission_service", "--once", *QUICK, "--folder", place / "admission", "--demo-origin", origin)
    assert published("root") == 1
