"""The key, the counter, and what pairing leaves."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from fleetclient.identity import COUNTER_BLOCK, Counter, Identity, IdentityUnusable


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
