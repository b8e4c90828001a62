"""A home for one test, and the command line of the embedded services run as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from fleetcompute.embedded.home import PROJECT_ROOT, Home, read_json
from fleetcompute.embedded.process import wait_until

REPLACED = ("DATABASE_URL", "CELERY_BROKER_URL", "CACHE_URL", "BLOB_STORE_URL", "FLEET_HOME", "DJANGO_SETTINGS_MODULE")
SECONDS = 60.0


def clean_environ(**extra: str) -> dict[str, str]:
    """The environment without what the suite's own services have put there."""
    return {name: value for name, value in os.environ.items() if name not in REPLACED} | extra


def start_cli(*arguments: str, home: Path, **extra: str) -> subprocess.Popen[str]:
    command, *rest = arguments
    argv = [sys.executable, "-m", "fleetcompute.embedded", command, "--home", str(home), *rest]
    environ, pipe = clean_environ(**extra), subprocess.PIPE
    return subprocess.Popen(argv, cwd=PROJECT_ROOT, env=environ, stdout=pipe, stderr=pipe, text=True)


def run_cli(*arguments: str, home: Path, **extra: str) -> tuple[int, str, str]:
    process = start_cli(*arguments, home=home, **extra)
    printed, complained = process.communicate(timeout=SECONDS)
    return process.returncode, printed, complained


def start_services(home: Path, **extra: str) -> subprocess.Popen[str]:
    """Start PostgreSQL and Valkey around a command that lasts; return when it runs."""
    process = start_cli("services", "--not-durable", "--", "sh", "-c", "echo ready; exec sleep 600", home=home, **extra)
    assert process.stdout is not None
    line = process.stdout.readline()
    while line and line != "ready\n":
        line = process.stdout.readline()
    assert line == "ready\n", process.communicate()[1]
    return process


def recorded_children(home: Path) -> dict[str, psutil.Process]:
    children = read_json(Home(home).children_path)["children"]
    return {child["name"]: psutil.Process(child["pid"]) for child in children}


def with_descendants(processes: Iterator[psutil.Process] | list[psutil.Process]) -> list[psutil.Process]:
    return [member for process in processes for member in (process, *process.children(recursive=True))]


def are_all_gone(processes: list[psutil.Process], *, seconds: float = 20.0) -> bool:
    """Tell whether every process ends in time; a zombie that waits for its parent has ended."""

    def is_gone(process: psutil.Process) -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return wait_until(lambda: all(is_gone(process) for process in processes), seconds=seconds)


def end(process: subprocess.Popen[str]) -> None:
    """End a command line that a test has left running."""
    if process.poll() is None:
        process.terminate()
        process.communicate(timeout=SECONDS)
