"""What the admission service signs and keeps: rules of roles and keys, age, and a power cut at every write."""

from __future__ import annotations

import os
import stat
import threading
from datetime import timedelta

import pytest
from tuf.api.exceptions import LengthOrHashMismatchError

from tests.trust.fleet_keys import NOW, ORIGIN, Keys, assert_whole, entry
from workunits.trust import folder, kept
from workunits.trust import repository as repository_module
from workunits.trust.errors import TrustError
from workunits.trust.folder import AdmissionFolder, FolderBusy, FolderUnsafe, read_bundle
from workunits.trust.log import REVOKED, LogBroken, LogFile, check_chain
from workunits.trust.offline import CarConfig, ChangeRefused, Release, next_root, next_targets
from workunits.trust.repository import ChangeOutOfTurn, KeyMissing, Lifetimes
from workunits.trust.staged import ThresholdMissed


class PowerCut(BaseException):
    pass


def versions(repository):
    return {role: version for _, role, version in repository.kept.names()}


def test_a_model_stands_in_one_bin_with_its_log_entry_and_a_revoked_one_in_none(keys):
    repository = keys.started()
    first = entry(repository.log.head, 1)
    repository.sign([first], now=NOW)
    target = repository.find(first.sha256)
    assert (target.length, target.hashes, target.custom) == (101, {"sha256": first.sha256}, first.custom())
    before = versions(repository)
    repository.sign([entry(repository.log.head, 1, kind=REVOKED)], now=NOW)
    assert repository.find(first.sha256) is None
    changed = {role for role, version in versions(repository).items() if before[role] != version}
    assert changed == {
        repository.kept.succinct().get_role_for_target(f"models/{first.sha256}"),
        "snapshot",
        "timestamp",
    }
    assert repository.log.head.count == 2
    assert repository.kept.log_head() == repository.log.head


def test_many_models_cost_one_signing(keys):
    repository = keys.started()
    before = versions(repository)
    entries, head = [], repository.log.head
    for number in range(20):
        entries.append(entry(head, number))
        head = check_chain(entries)
    repository.sign(entries, now=NOW)
    assert all(repository.find(each.sha256) for each in entries)
    assert versions(repository)["snapshot"] == before["snapshot"] + 1
    assert versions(repository)["timestamp"] == before["timestamp"] + 1


def test_what_is_on_disk_is_read_again_and_old_files_are_gone(keys):
    repository = keys.started()
    repository.sign([entry(repository.log.head, 1)], now=NOW)
    again = keys.repository()
    assert versions(again) == versions(repository)
    assert again.find(f"{1:064x}") is not None
    on_disk = {str(path.relative_to(keys.folder.repository)) for path in keys.folder.repository.rglob("*.json")}
    assert on_disk == {name for name, _, _ in again.kept.names()}


def test_a_power_cut_at_any_write_leaves_a_whole_repository_and_the_next_run_finishes(tmp_path, monkeypatch):
    """The first signing and an admission, cut off before each of their writes in turn."""
    write, cuts = folder.write_file, 0
    for step in range(100):
        (tmp_path / str(step)).mkdir()
        keys = Keys(tmp_path / str(step))
        left = [step]

        def write_or_fail(path, content, *, mode=0o600, left=left):
            if left[0] == 0:
                raise PowerCut
            left[0] -= 1
            write(path, content, mode=mode)

        for module in (kept, repository_module):
            monkeypatch.setattr(module, "write_file", write_or_fail)
        root, targets = keys.first()
        was_cut = False
        try:
            _run(keys, root, targets)
        except PowerCut:
            cuts, was_cut = cuts + 1, True
        for module in (kept, repository_module):
            monkeypatch.setattr(module, "write_file", write)
        assert_whole(keys.repository())
        finished = _run(keys, root, targets)
        assert_whole(finished)
        assert finished.find(f"{1:064x}") is not None
        assert finished.log.head.count == 1
        if not was_cut:
            break
    assert cuts == step > 10


def _run(keys, root, targets):
    """One run of a service: take in what was ordered, admit what was asked for unless it is logged already."""
    repository = keys.repository()
    repository.take_root(root)
    repository.take_targets(targets)
    if repository.is_due(NOW):
        repository.sign(now=NOW)
    if repository.find(f"{1:064x}") is None:
        entries = [] if repository.log.head.count else [entry(repository.log.head, 1)]
        repository.sign(entries, now=NOW)
    return repository


# -- age -------------------------------------------------------------------------------------------------------


def test_the_timestamp_is_signed_again_every_hour_and_nothing_else(keys):
    repository = keys.started()
    before = versions(repository)
    assert not repository.is_due(NOW + timedelta(minutes=59))
    assert repository.is_due(NOW + timedelta(minutes=61))
    repository.sign(now=NOW + timedelta(minutes=61))
    assert versions(repository) == {**before, "timestamp": before["timestamp"] + 1}


def test_nothing_ever_expires_while_the_service_runs(keys):
    repository = keys.started()
    repository.sign([entry(repository.log.head, 1)], now=NOW)
    now = NOW
    for _ in range(70):
        now += timedelta(days=1)
        assert repository.is_due(now)
        repository.sign(now=now)
        for metadata in (repository.kept.models, repository.kept.snapshot, repository.kept.timestamp):
            assert metadata.signed.expires > now
        assert all(repository.kept.bin_expires(name) > now for name in repository.kept.succinct().get_roles())
    assert repository.find(f"{1:064x}") is not None


def test_the_number_of_bins_never_changes_once_there_are_any(keys):
    keys.started()
    again = keys.repository(bin_bits=5)
    again.sign(now=NOW + timedelta(days=40))
    assert len(list(again.kept.succinct().get_roles())) == 4


def test_a_timestamp_that_lives_longer_than_a_day_is_refused():
    with pytest.raises(TrustError, match="it is the stop switch"):
        Lifetimes(timestamp=timedelta(hours=25))
    with pytest.raises(TrustError, match="signed again before it expires"):
        Lifetimes(timestamp=timedelta(hours=1), timestamp_period=timedelta(hours=1))


def test_a_stopped_fleet_gets_a_last_timestamp_and_then_none_until_it_is_resumed(keys):
    repository = keys.started()
    version = versions(repository)["timestamp"]
    repository.stop(now=NOW)
    assert repository.kept.timestamp.signed.expires == NOW + timedelta(seconds=30)
    assert versions(repository)["timestamp"] == version + 1
    again = keys.repository()
    assert not again.is_due(NOW + timedelta(days=3))
    again.sign(now=NOW + timedelta(minutes=1))  # a change of people's that is published meanwhile
    assert versions(again)["timestamp"] == version + 1
    keys.folder.resume()
    assert again.is_due(NOW + timedelta(minutes=1))
    again.sign(now=NOW + timedelta(minutes=1))
    assert again.kept.timestamp.signed.expires == NOW + timedelta(hours=12, minutes=1)


# -- people's word ---------------------------------------------------------------------------------------------


def unchanged(repository):
    return versions(repository), repository.log.head


def test_root_and_targets_need_two_signatures(keys):
    repository = keys.started()
    before = unchanged(repository)
    for staged, take in (
        (next_root(repository.kept.root.signed, now=NOW), repository.take_root),
        (next_targets(repository.kept.targets.signed, now=NOW), repository.take_targets),
    ):
        staged.in_force = repository.kept.root
        keys.sign(staged, "alice")
        with pytest.raises(ThresholdMissed, match=r"has 1 of 2 signatures; not signed yet by: bob, carol"):
            take(staged)
        keys.sign(staged, "alice")  # twice the same person is one person
        with pytest.raises(ThresholdMissed):
            take(staged)
    assert unchanged(repository) == before


def test_a_change_that_was_staged_before_another_was_published_is_out_of_turn(keys):
    repository = keys.started()
    one, other = (next_targets(repository.kept.targets.signed, now=NOW + timedelta(days=n)) for n in (1, 2))
    for staged in (one, other):
        staged.in_force = repository.kept.root
        keys.sign(staged)
    repository.take_targets(one)
    repository.take_targets(one)  # a run that did not get to say so takes it again
    with pytest.raises(ChangeOutOfTurn, match="targets has version 2, but 3 is next: stage the change again"):
        repository.take_targets(other)


def test_of_two_signed_changes_of_one_version_cars_are_told_which_was_taken_in(keys):
    """Whoever serves the files may hold the other one as well, with all the signatures it needs."""
    repository = keys.started()
    one, other = (next_targets(repository.kept.targets.signed, now=NOW + timedelta(days=n)) for n in (1, 2))
    for staged in (one, other):
        staged.in_force = repository.kept.root
        keys.sign(staged)
    repository.take_targets(one)
    repository.sign(now=NOW)
    named = repository.kept.snapshot.signed.meta["targets.json"]
    named.verify_length_and_hashes(repository.kept.read("2.targets.json"))
    with pytest.raises(LengthOrHashMismatchError):
        named.verify_length_and_hashes(other.metadata.to_bytes())


def test_targets_that_hand_the_models_to_an_unknown_key_are_refused(keys, tmp_path):
    repository = keys.started()
    (tmp_path / "thief").mkdir()
    thief = read_bundle(AdmissionFolder(tmp_path / "thief" / "admission").make())
    staged = next_targets(repository.kept.targets.signed, now=NOW, models_key=thief["models"])
    staged.in_force = repository.kept.root
    with pytest.raises(KeyMissing):
        repository.take_targets(keys.sign(staged))
    assert versions(repository)["targets"] == 1


def test_a_target_without_its_content_is_refused(keys):
    repository = keys.started()
    release = Release(channel="stable", file_name="c-1.0-py3-none-any.whl", content=b"wheel", ring_percent=1.0)
    staged = next_targets(repository.kept.targets.signed, now=NOW, release=release, channels={})
    staged.in_force = repository.kept.root
    keys.sign(staged)
    del staged.files["client/c-1.0-py3-none-any.whl"]
    with pytest.raises(ChangeOutOfTurn, match="its content is neither in the change nor published already"):
        repository.take_targets(staged)
    assert versions(repository)["targets"] == 1


def test_new_keys_of_the_service_sign_everything_again_and_models_stay(keys):
    repository = keys.started()
    repository.sign([entry(repository.log.head, 1)], now=NOW)
    bundle = read_bundle(keys.folder.make())
    again = keys.repository()
    top = {name: ([bundle[name]], 1) for name in ("snapshot", "timestamp")}
    for staged, take in (
        (next_root(again.kept.root.signed, now=NOW, holders=top), again.take_root),
        (next_targets(again.kept.targets.signed, now=NOW, models_key=bundle["models"]), again.take_targets),
    ):
        staged.in_force = again.kept.root
        take(keys.sign(staged))
    assert again.is_due(NOW)
    again.sign(now=NOW)
    for role, metadata in (("snapshot", again.kept.snapshot), ("timestamp", again.kept.timestamp)):
        assert list(metadata.signatures) == [bundle[role].keyid]
    bins = [again.kept.bin(name) for name in again.kept.succinct().get_roles()]
    assert {keyid for metadata in bins for keyid in metadata.signatures} == {bundle["models"].keyid}
    assert again.find(f"{1:064x}") is not None
    assert not again.is_due(NOW)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"origins": ()}, "name at least one origin"),
        ({"origins": ("https://a.example/path",)}, "is not an origin"),
        ({"origins": (ORIGIN,), "egress_bytes_per_day": 0}, "above zero bytes"),
        ({"origins": (ORIGIN,), "refresh_seconds": 100_000}, "cars look at the repository every 1 to 21600 seconds"),
    ],
)
def test_a_configuration_that_would_break_cars_is_not_staged(config, sentence):
    with pytest.raises(ChangeRefused, match=sentence):
        CarConfig(**config).to_bytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"file_name": "client.exe"}, "is not the name of a wheel"),
        ({"file_name": "../c-1.0-py3-none-any.whl"}, "is not the name of a wheel"),
        ({"channel": "Stable!"}, "no name for a channel"),
        ({"ring_percent": 0.0}, "above 0 to 100 percent"),
    ],
)
def test_a_release_that_makes_no_sense_is_not_staged(keys, change, sentence):
    repository = keys.started()
    release = Release(
        **{"channel": "stable", "file_name": "c-1.0-py3-none-any.whl", "content": b"", "ring_percent": 5.0, **change}
    )
    with pytest.raises(ChangeRefused, match=sentence):
        next_targets(repository.kept.targets.signed, now=NOW, release=release, channels={})


# -- the folder ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["path", "keys"])
def test_a_folder_that_others_can_look_into_is_refused(keys, place):
    getattr(keys.folder, place).chmod(0o750)
    with pytest.raises(FolderUnsafe, match="closed to all others"):
        keys.folder.check()


def test_a_key_that_others_can_read_is_refused(keys):
    (keys.folder.keys / "models-1.pem").chmod(0o640)
    with pytest.raises(FolderUnsafe, match=r"models-1\.pem can be read by others"):
        keys.folder.check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(keys):
    os.chown(keys.folder.path, 65534, 65534)
    with pytest.raises(FolderUnsafe, match="must belong to the user of this process"):
        keys.folder.check()


def test_every_key_file_is_closed_to_others(keys):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in keys.folder.keys.glob("*.pem")}
    assert modes == {0o600}


def test_two_services_never_share_a_folder(keys):
    with keys.folder.lock(), pytest.raises(FolderBusy):
        keys.folder.lock()
    keys.folder.lock().close()


def test_an_operator_and_the_service_change_the_list_of_revoked_models_at_once_and_none_is_lost(keys):
    numbers = range(40)
    keys.folder.write_denied(f"{number:064x}" for number in numbers if number % 2)

    def change(start, act):
        for number in numbers[start::2]:
            act(f"{number:064x}")

    threads = [
        threading.Thread(target=change, args=each)
        for each in ((0, keys.folder.deny), (1, AdmissionFolder(keys.folder.path).allow))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys.folder.read_denied() == {f"{number:064x}" for number in numbers if not number % 2}


# -- the log ---------------------------------------------------------------------------------------------------


def test_a_log_line_that_was_changed_or_taken_out_is_found(keys):
    repository = keys.started()
    for number in range(3):
        repository.sign([entry(repository.log.head, number)], now=NOW)
    lines = keys.folder.log.read_text().splitlines(keepends=True)
    for tampered in (lines[1:], [lines[0], lines[2]], [lines[0].replace("100", "999"), *lines[1:]], ["{}\n"]):
        keys.folder.log.write_text("".join(tampered))
        with pytest.raises(LogBroken):
            LogFile(keys.folder.log)
    keys.folder.log.write_text("".join(lines))
    assert LogFile(keys.folder.log).head == repository.log.head


def test_a_line_that_a_power_cut_tore_is_dropped(keys):
    repository = keys.started()
    repository.sign([entry(repository.log.head, 1)], now=NOW)
    with keys.folder.log.open("a") as file:
        file.write('{"index": 1, "kind"')
    assert LogFile(keys.folder.log).head == repository.log.head
    assert keys.folder.log.read_text().endswith("}\n")


def test_the_client_computes_the_same_chain():
    """The client has its own copy of the rule; this holds the two together."""
    from fleetclient.trust.log_entry import read_log_entry
    from workunits.trust.log import Head

    made = entry(Head(count=7, hash="a" * 64), 5)
    read = read_log_entry(made.custom(), sha256=made.sha256, size_bytes=made.size_bytes)
    assert read is not None
    assert (read.index, read.hash) == (7, made.hash)
    assert read_log_entry(made.custom(), sha256="0" * 64, size_bytes=made.size_bytes) is None
    assert read_log_entry(made.custom(), sha256=made.sha256, size_bytes=1) is None
