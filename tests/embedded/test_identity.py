"""Which user the services run as, and how it reaches binaries in a private folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from fleetcompute.embedded import EmbeddedError
from fleetcompute.embedded.identity import data_folder, reachable, service_identity

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")


def test_binaries_in_a_private_folder_are_copied_once_to_where_the_user_can_run_them(home: Path) -> None:
    tree = home / "private" / "install"
    program = tree / "bin" / "hello"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\ncat $(dirname $0)/../share/text\n")
    program.chmod(0o755)
    (tree / "share").mkdir()
    (tree / "share" / "text").write_text("hello")
    (home / "private").chmod(0o700)
    identity = service_identity()
    assert identity is not None
    copy = reachable(program, tree, identity)
    try:
        assert copy != program
        answer = subprocess.run([copy], cwd="/", capture_output=True, check=True, **identity.popen_options)
        assert answer.stdout == b"hello"
        assert reachable(program, tree, identity) == copy
        assert stat.S_IMODE((home / "private").stat().st_mode) == 0o700
    finally:
        shutil.rmtree(copy.parents[2])


def test_a_folder_that_somebody_else_prepared_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetcompute.embedded.identity.REACHABLE_ROOT", home)
    identity = service_identity()
    assert identity is not None
    private = home / "private"
    private.mkdir(mode=0o700)
    home.chmod(0o711)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fleetcompute.embedded.identity._digest", lambda _: "known")
        trap = home / "fleetcompute-known"
        trap.mkdir()
        os.chown(trap, identity.uid, identity.gid)
        with pytest.raises(EmbeddedError, match=r"belongs to someone else"):
            data_folder(private, "postgres", identity)
    assert list(trap.iterdir()) == []


def test_an_unknown_service_user_and_root_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_SERVICE_USER", "no-such-user")
    with pytest.raises(EmbeddedError, match=r"^There is no user 'no-such-user'"):
        service_identity()
    monkeypatch.setenv("FLEET_SERVICE_USER", "root")
    with pytest.raises(EmbeddedError, match=r"must not be root"):
        service_identity()
