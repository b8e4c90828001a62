"""The model cache: names are hashes, the cap holds, what is in use stays."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from fleetclient.cache import CacheFull, DigestMismatch, ModelCache


def put(cache: ModelCache, content: bytes, used_at: int = 0) -> str:
    name = hashlib.sha256(content).hexdigest()
    cache.partial_path(name).write_bytes(content)
    cache.admit(name)
    os.utime(cache.path(name), (used_at, used_at))
    return name


def test_a_download_gets_its_name_only_when_its_hash_is_right(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path, bytes_max=1000)
    cache.partial_path("ab" * 32).write_bytes(b"something else")
    with pytest.raises(DigestMismatch):
        cache.admit("ab" * 32)
    assert not cache.has("ab" * 32)
    assert cache.partial_bytes("ab" * 32) == 0


def test_the_least_recently_used_models_make_room(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path, bytes_max=1000)
    old, middle, new = (put(cache, letter * 300, age) for letter, age in ((b"a", 10), (b"b", 20), (b"c", 30)))
    assert cache.list_models() == [new, middle, old]
    cache.make_room(100, in_use=())
    assert cache.list_models() == [new, middle, old]
    cache.make_room(400, in_use=())
    assert cache.list_models() == [new, middle]
    cache.touch(middle)
    cache.make_room(600, in_use=())
    assert cache.list_models() == [middle]


def test_models_in_use_are_not_thrown_out(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path, bytes_max=1000)
    old, new = put(cache, b"a" * 400, 10), put(cache, b"b" * 400, 20)
    cache.make_room(500, in_use={old})
    assert cache.list_models() == [old]
    with pytest.raises(CacheFull):
        cache.make_room(700, in_use={old})
    assert cache.list_models() == [old]
    assert new != old


def test_a_model_larger_than_the_cap_is_refused_and_costs_no_other_model(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path, bytes_max=1000)
    kept = put(cache, b"a" * 400)
    with pytest.raises(CacheFull):
        cache.make_room(1001, in_use=())
    assert cache.list_models() == [kept]
