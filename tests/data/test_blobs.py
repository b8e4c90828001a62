"""One suite over both blob stores: a folder, and S3 as a small server speaks it."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator

import pytest

from tests.data.fake_s3 import fake_s3
from tests.data.scenes import NOW
from workunits.models import Blob
from workunits.store.blobs import (
    BlobDigestMismatch,
    BlobMissing,
    BlobStore,
    BlobTooLarge,
    StoredBlob,
    UploadOffsetConflict,
    _open_store,
    record_blob,
)

DATA = b"0123456789"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def bucket():
    """One S3 client for the module: making one costs a quarter of a second."""
    with fake_s3() as (address, objects), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        options = f"endpoint_url={address}&region_name=here&addressing_style=path"
        yield _open_store(f"s3://bucket/some/prefix?{options}"), objects


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return _open_store((tmp_path / "blobs").as_uri())
    store, objects = request.getfixturevalue("bucket")
    objects.clear()
    return store


def names(store: BlobStore) -> list[str]:
    """Return everything in the store, of whatever kind."""
    root = getattr(store.objects, "root", None)
    if root is not None:
        return sorted(path.name for path in root.rglob("*") if path.is_file())
    return sorted(item.key.rsplit("/")[-1] for item in store.objects.storage.bucket.objects.filter(Prefix=""))  # type: ignore[attr-defined]


def test_a_blob_is_named_by_its_digest_and_reads_back(store):
    assert store.put_bytes(DATA) == StoredBlob(SHA256, 10)
    assert (store.read(SHA256), store.size(SHA256), store.exists(SHA256)) == (DATA, 10, True)
    assert names(store) == [SHA256]


def test_storing_twice_is_storing_once(store, tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    assert (
        store.put_file(tmp_path / "file")
        == store.put_stream(io.BytesIO(DATA))
        == store.put_stream([b"01234", b"56789"])
    )
    assert names(store)[:1] == [SHA256]
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, None, DATA),
        (3, 7, b"3456"),
        (3, None, b"3456789"),
        (8, 99, b"89"),
        (4, 4, b""),
        (10, None, b""),
        (99, None, b""),
    ],
)
def test_a_range_is_half_open_and_ends_with_the_blob(store, start, end, expected):
    store.put_bytes(DATA)
    assert store.read(SHA256, start, end) == expected


def test_an_empty_blob_is_a_blob(store):
    empty = store.put_bytes(b"")
    assert (empty.size_bytes, store.read(empty.sha256), store.exists(empty.sha256)) == (0, b"", True)


def test_a_blob_can_be_had_as_a_local_file(store):
    store.put_bytes(DATA)
    with store.local_path(SHA256) as path:
        assert path.read_bytes() == DATA


@pytest.mark.parametrize("name", [SHA256, "../../etc/passwd", SHA256.upper(), SHA256 + "\n", "", "0" * 63])
def test_what_is_not_the_name_of_a_blob_here_is_missing(store, name):
    assert not store.exists(name)
    for read in (store.read, store.size, store.open):
        with pytest.raises(BlobMissing):
            read(name)
    with pytest.raises(BlobMissing), store.local_path(name):
        pass
    store.delete(name)


def test_a_deleted_blob_is_gone_and_may_come_back(store):
    store.put_bytes(DATA)
    store.delete(SHA256)
    assert not store.exists(SHA256)
    store.put_bytes(DATA)
    assert store.read(SHA256) == DATA


def test_a_stream_over_the_limit_stops_there_and_keeps_nothing(store):
    given = []

    def endless() -> Iterator[bytes]:
        while True:
            given.append(1)
            yield b"x" * 1000

    with pytest.raises(BlobTooLarge):
        store.put_stream(endless(), size_bytes_max=5000)
    assert (len(given), names(store)) == (6, [])


def test_exactly_the_limit_is_allowed(store):
    assert store.put_stream([DATA], size_bytes_max=10).size_bytes == 10


def test_other_bytes_than_announced_are_refused_and_nothing_is_kept(store):
    with pytest.raises(BlobDigestMismatch):
        store.put_stream([b"other"], expect_sha256=SHA256)
    assert names(store) == []


def test_a_stream_that_breaks_off_keeps_nothing(store):
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.put_stream(broken())
    assert names(store) == []


def test_parts_join_to_a_blob_and_are_gone(store):
    assert store.parts_offset("k") == 0
    assert store.append_part("k", 0, DATA[:4]) == 4
    assert store.append_part("k", 4, DATA[4:]) == 10
    assert (store.parts_offset("k"), store.read_parts("k")) == (10, DATA)
    assert store.finish_parts("k", 10, SHA256) == StoredBlob(SHA256, 10)
    assert names(store) == [SHA256]


def test_finishing_again_answers_as_before(store):
    store.append_part("k", 0, DATA)
    assert store.finish_parts("k", 10, SHA256) == store.finish_parts("k", 10, SHA256)


@pytest.mark.parametrize("offset", [0, 3, 5])
def test_a_part_that_does_not_follow_is_refused_and_says_where_to_go_on(store, offset):
    store.append_part("k", 0, DATA[:4])
    with pytest.raises(UploadOffsetConflict) as refusal:
        store.append_part("k", offset, b"xx")
    assert refusal.value.context == {"offset": 4}
    assert store.read_parts("k") == DATA[:4]


def test_an_empty_part_changes_nothing(store):
    assert store.append_part("k", 0, b"") == 0
    assert names(store) == []


def test_unfinished_parts_do_not_make_a_blob(store):
    store.append_part("k", 0, DATA[:4])
    with pytest.raises(UploadOffsetConflict):
        store.finish_parts("k", 10, SHA256)
    assert not store.exists(SHA256)


def test_wrong_bytes_do_not_make_a_blob_and_may_be_dropped(store):
    store.append_part("k", 0, b"987654321.")
    with pytest.raises(BlobDigestMismatch):
        store.finish_parts("k", 10, SHA256)
    assert store.parts_offset("k") == 10
    store.drop_parts("k")
    assert (store.parts_offset("k"), names(store)) == (0, [])


@pytest.mark.parametrize("key", ["", "../x", "a/b", "a" * 81, "a\n"])
def test_an_upload_cannot_have_a_name_that_leaves_its_folder(store, key):
    with pytest.raises(ValueError, match="cannot name an upload"):
        store.append_part(key, 0, DATA)


def test_of_many_writers_of_one_part_exactly_one_wins(tmp_path):
    store = _open_store((tmp_path / "blobs").as_uri())
    barrier, wins = threading.Barrier(8), []

    def write(mark: int) -> None:
        barrier.wait()
        try:
            store.append_part("k", 0, bytes([mark]) * 100)
            wins.append(mark)
        except UploadOffsetConflict:
            pass

    threads = [threading.Thread(target=write, args=(mark,)) for mark in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert store.read_parts("k") == bytes([wins[0]]) * 100


def test_blobs_are_spread_over_two_levels_of_folders(tmp_path):
    store = _open_store((tmp_path / "blobs").as_uri())
    store.put_bytes(DATA)
    assert (tmp_path / "blobs" / "blobs" / SHA256[:2] / SHA256[2:4] / SHA256).is_file()
    assert list((tmp_path / "blobs" / "spool").iterdir()) == []


def test_a_damaged_file_is_replaced_when_its_blob_is_stored_again(tmp_path):
    store = _open_store((tmp_path / "blobs").as_uri())
    store.put_bytes(DATA)
    (tmp_path / "blobs" / "blobs" / SHA256[:2] / SHA256[2:4] / SHA256).write_bytes(b"half")
    store.put_bytes(DATA)
    assert store.read(SHA256) == DATA


@pytest.mark.django_db
def test_the_row_of_a_blob_is_written_once(store):
    for _ in range(2):
        record_blob(StoredBlob(SHA256, 10), NOW)
    assert list(Blob.objects.filter(sha256=SHA256).values_list("size_bytes", "created_at")) == [(10, NOW)]
