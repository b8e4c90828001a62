"""The runner's control group, in the machine's real tree where this user may make one."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetclient.runner import cgroup
from tests.client.support import CLIENT_ROOT

# Plays an agent in a group of its own: starts a child, encloses it, and says where everybody is.
AGENT = """
import subprocess, sys, pathlib
from fleetclient.runner import cgroup
pathlib.Path(sys.argv[1], "cgroup.procs").write_text("0")
child = subprocess.Popen(["sleep", "60"])
group = cgroup.enclose(child.pid, 300_000_000)
own = lambda pid: pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1].rsplit("/", 1)[1]
print(own("self"), own(child.pid), group.folder.name)
child.kill(); child.wait()
group.remove()
print(group.folder.exists())
"""


def tree() -> Path | None:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return next((Path(line.split()[4]) for line in mounts if " - cgroup2 " in line), None)


@pytest.fixture
def home() -> Iterator[Path]:
    root = tree()
    folder = root / f"fleetclient-test-{uuid.uuid4().hex}" if root else Path("/nowhere")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no control group can be made here")
    yield folder
    for name in ("runner", "agent", "."):
        if (folder / name).is_dir():
            (folder / name).rmdir()


def test_the_runner_gets_a_group_beside_the_agents_and_it_goes_with_it(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AGENT, str(home)],
        env={**os.environ, "PYTHONPATH": str(CLIENT_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["agent runner runner", "False"]


def test_a_group_with_somebody_elses_process_in_it_is_left_alone() -> None:
    # This process's own group holds the shell or the service manager that started the tests.
    before = Path("/proc/self/cgroup").read_text()
    assert cgroup.find_home() is None
    assert cgroup.enclose(os.getpid(), 1_000_000) is None
    assert Path("/proc/self/cgroup").read_text() == before
