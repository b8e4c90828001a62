"""Files that are replaced in one step, by several writers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from fleetclient.files import write_durably


def test_writers_of_one_file_at_once_follow_each_other(tmp_path):
    path, texts = tmp_path / "verdict.json", [bytes([number]) * 50_000 for number in range(32)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda text: write_durably(path, text), texts))
    assert path.read_bytes() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_writer_left_behind_does_not_show_in_the_next_file(tmp_path):
    path = tmp_path / "verdict.json"
    (tmp_path / "verdict.json.tmp").write_bytes(b"x" * 1_000)
    write_durably(path, b"short")
    assert path.read_bytes() == b"short"
