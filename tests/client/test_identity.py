"""The key, the counter, and what pairing leaves."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fleetclient.identity import COUNTER_BLOCK, Counter, Identity, IdentityUnusable, process_mark


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    first = Identity(tmp_path / "identity")
    assert stat.S_IMODE((tmp_path / "identity" / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o700
    assert Identity(tmp_path / "identity").public_key == first.public_key
    assert Identity(tmp_path / "other").public_key != first.public_key


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Identity(tmp_path)
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(IdentityUnusable, match="chmod 600"):
        Identity(tmp_path)


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    Identity(tmp_path)
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(IdentityUnusable):
        Identity(tmp_path)


def test_a_damaged_vehicle_file_is_refused(tmp_path: Path) -> None:
    Identity(tmp_path)
    (tmp_path / "vehicle.json").write_bytes(b"{")
    with pytest.raises(IdentityUnusable):
        Identity(tmp_path)


def test_the_counter_is_stored_before_it_is_used(tmp_path: Path) -> None:
    counter = Counter(tmp_path / "counter")
    assert [counter.take(), counter.take()] == [1, 2]
    assert int((tmp_path / "counter").read_text()) == 1 + COUNTER_BLOCK


def test_a_counter_opened_again_never_repeats(tmp_path: Path) -> None:
    taken = []
    for _ in range(3):
        counter = Counter(tmp_path / "counter")
        taken += [counter.take() for _ in range(COUNTER_BLOCK + 1)]
    assert taken == sorted(set(taken))


def test_threads_never_take_the_same_number(tmp_path: Path) -> None:
    counter = Counter(tmp_path / "counter")
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.extend([counter.take() for _ in range(2000)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 16001))


def test_a_leap_passes_everything_a_lost_folder_may_have_counted(tmp_path: Path) -> None:
    counter = Counter(tmp_path / "counter")
    counter.leap()
    first = counter.take()
    assert first > 1_700_000_000_000
    counter.leap()
    assert counter.take() > first
    assert Counter(tmp_path / "counter").take() > first


def test_revocation_is_remembered(tmp_path: Path) -> None:
    Identity(tmp_path).remember_revoked()
    assert Identity(tmp_path).is_revoked


def test_a_new_key_is_on_disk_before_anybody_hears_of_it_and_stays_the_same(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    old = identity.public_key
    new = identity.begin_rotation().public_key().public_bytes_raw()
    assert stat.S_IMODE((tmp_path / "key.next").stat().st_mode) == 0o600
    again = Identity(tmp_path)
    assert (again.public_key, again.is_rotating) == (old, True)
    assert again.begin_rotation().public_key().public_bytes_raw() == new != old
    again.finish_rotation()
    assert (again.public_key, again.is_rotating, (tmp_path / "key.next").exists()) == (new, False, False)
    assert Identity(tmp_path).public_key == new


def test_a_rotation_that_is_given_up_leaves_the_old_key(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    old = identity.public_key
    identity.begin_rotation()
    identity.abandon_rotation()
    again = Identity(tmp_path)
    assert (again.public_key, again.is_rotating) == (old, False)
    with pytest.raises(ValueError, match="no key"):
        again.finish_rotation()


def test_a_next_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Identity(tmp_path).begin_rotation()
    (tmp_path / "key.next").chmod(0o640)
    with pytest.raises(IdentityUnusable, match="chmod 600"):
        Identity(tmp_path)


def test_an_installation_has_a_mark_that_says_nothing_of_the_machine(tmp_path: Path) -> None:
    first, second = Identity(tmp_path / "a"), Identity(tmp_path / "b")
    assert first.instance == Identity(tmp_path / "a").instance != second.instance
    assert re.fullmatch("[0-9a-f]{32}", first.instance)
    assert (tmp_path / "a" / "instance").read_text() != first.instance


def test_a_process_has_a_mark_and_no_other_process_ever_has_the_same() -> None:
    assert re.fullmatch("[0-9a-f]{32}", process_mark())
    assert process_mark() == process_mark()
    program = "from fleetclient.identity import process_mark; print(process_mark())"
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    marks = {
        subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(marks | {process_mark().encode() + b"\n"}) == 3
