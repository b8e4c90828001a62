"""What a model that took over its process can do: nothing of what it might try; and each probe tells the difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from fleetclient.runner import walls
from fleetclient.runner.confinement import REQUIRED, WALLS
from fleetclient.runner.options import SandboxOptions
from fleetclient.runner.probe_acts import PROBES
from fleetclient.runner.probes import ProbeReport, run_probes
from tests.client.support import CLIENT_ROOT

NAMES = {probe.name for probe in PROBES}
NETWORK = {"socket_ipv4", "socket_ipv6", "socket_unix", "socket_netlink", "reach", "connect", "send"}
# As an ordinary user: no privilege, so that namespaces are to be had by way of a user namespace only.
UNPRIVILEGED = """
import sys
from fleetclient.runner import linux
from fleetclient.runner.probes import run_probes
assert linux.drop_capabilities()
report = run_probes(off=sys.argv[1:])
assert report.all_denied, report.allowed
print(report.walls["namespaces"])
"""


@cache
def report_without(*off: str) -> ProbeReport:
    return run_probes(off=off)


def test_everything_is_denied_inside_the_walls() -> None:
    report = report_without()
    assert {outcome.name for outcome in report.outcomes} == NAMES
    assert report.allowed == ()
    assert report.all_denied
    assert report.walls.keys() == WALLS.keys()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_probe_says_possible_where_there_are_no_walls(name: str) -> None:
    """Else its denial would prove nothing."""
    outcome = next(outcome for outcome in report_without("all").outcomes if outcome.name == name)
    if name == "io_uring" and _sysctl("kernel/io_uring_disabled") not in ("", "0"):
        pytest.skip("the system itself forbids it")
    if name in ("trace_agent", "read_agent_memory") and _sysctl("kernel/yama/ptrace_scope") not in ("", "0"):
        pytest.skip("the system itself forbids it")
    assert (outcome.is_denied, outcome.how) == (False, "possible")


@pytest.mark.parametrize("off", [("landlock",), ("namespaces",), ("landlock", "namespaces")])
def test_seccomp_alone_denies_everything_where_landlock_or_namespaces_are_missing(off: tuple[str, ...]) -> None:
    report = report_without(*off)
    assert not any(report.walls[name] for name in off)
    assert report.allowed == ()
    assert {outcome.name for outcome in report.outcomes} >= NETWORK


def test_the_namespace_alone_denies_the_network() -> None:
    report = run_probes(off=("seccomp", "landlock"), only=("reach", "socket_ipv4"))
    assert report.walls["namespaces"]
    assert {outcome.name: outcome.how for outcome in report.outcomes} == {
        "reach": "ENETUNREACH",
        "socket_ipv4": "possible",
    }


def test_landlock_alone_denies_files_and_signals() -> None:
    report = run_probes(
        off=("seccomp", "namespaces"), only=("read_outside", "read_secret", "new_file", "delete", "signal_agent")
    )
    if not report.walls["landlock"]:
        pytest.skip("this kernel has no Landlock")
    files = {outcome.name: outcome.how for outcome in report.outcomes if outcome.name != "signal_agent"}
    assert set(files.values()) == {"EACCES"}


@pytest.mark.parametrize("off", [(), ("landlock", "namespaces")])
def test_an_ordinary_user_is_confined_as_well(off: tuple[str, ...]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CLIENT_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, *off], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_given_secret_is_tried_and_not_read(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"private")
    report = run_probes(secret=key, only=("read_secret",))
    assert [outcome.how for outcome in report.outcomes] == ["EPERM"]
    assert [outcome.how for outcome in run_probes(secret=key, only=("read_secret",), off=("all",)).outcomes] == [
        "possible"
    ]
    # A probe that failed for want of its file would prove nothing, and says so.
    missing = run_probes(secret=tmp_path / "missing", only=("read_secret",), off=("all",))
    assert [(outcome.is_denied, outcome.how) for outcome in missing.outcomes] == [(False, "ENOENT")]


def test_the_walls_for_a_gpu_pass_the_same_probes_and_need_landlock() -> None:
    report = run_probes(profile="gpu")
    if not report.walls.get("landlock"):
        assert "landlock" in report.reason_refused
        pytest.skip("this kernel has no Landlock")
    assert report.all_denied
    # A driver that compiles at run time makes code; everything else is tried.
    assert {outcome.name for outcome in report.outcomes} == NAMES - {"new_code"}
    open_wide = run_probes(profile="gpu", off=("landlock",))
    assert {"read_outside", "read_secret", "new_file"} <= {outcome.name for outcome in open_wide.allowed}


def test_the_walls_are_checked_once_and_work_may_be_taken() -> None:
    report = walls.check_walls(SandboxOptions())
    assert report.reason_refused == ""
    assert all(report.walls[name] for name in REQUIRED)
    assert walls.check_walls(SandboxOptions(use_cgroup=False)).walls["cgroup"] is False
    assert walls._check(()) is walls._check(())


def test_without_libseccomp_work_is_refused_with_the_way_to_mend_it(tmp_path: Path, monkeypatch) -> None:
    # What pyseccomp does at import where the library is not installed.
    (tmp_path / "pyseccomp.py").write_text("raise RuntimeError('Unable to find libseccomp')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = run_probes()
    assert "apt install libseccomp2" in report.reason_refused
    assert not report.all_denied
    walls._check.cache_clear()
    assert walls.check_walls().reason_refused == report.reason_refused
    walls._check.cache_clear()


def test_elsewhere_than_on_linux_work_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("fleetclient.runner.probes.sys.platform", "darwin")
    walls._check.cache_clear()
    assert "Linux only" in walls.check_walls().reason_refused
    walls._check.cache_clear()


def test_a_process_with_a_second_thread_is_not_walled_in() -> None:
    script = (
        "import threading, os, json\n"
        "from fleetclient.runner import confinement\n"
        "from fleetclient.runner.bounds import Bounds\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "try: confinement.raise_walls(Bounds(memory_bytes=1, file_bytes=1, cpu_seconds=1), parent_pid=os.getppid())\n"
        "except confinement.Unconfined as error: print(json.dumps(str(error)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CLIENT_ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "started a thread" in json.loads(done.stdout)


def _sysctl(name: str) -> str:
    path = Path("/proc/sys") / name
    return path.read_text().strip() if path.exists() else ""
