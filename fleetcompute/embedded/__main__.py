"""Command line: `python -m fleetcompute.embedded up | down | status | erase | services -- COMMAND …`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from fleetcompute.embedded.errors import EmbeddedError
from fleetcompute.embedded.home import PROJECT_ROOT, Home
from fleetcompute.embedded.identity import erase_data
from fleetcompute.embedded.ports import LOOPBACK
from fleetcompute.embedded.process import tie_to_parent, wait_until
from fleetcompute.embedded.services import Services
from fleetcompute.embedded.supervisor import Options, SupervisorProcess

DOWN_SECONDS = 120.0
# What init scripts answer for "not running".
EXIT_NOT_RUNNING = 3


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; failures are one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except (EmbeddedError, OSError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def up(options: argparse.Namespace) -> int:
    """Serve everything until Ctrl-C."""
    chosen = Options(
        home=options.home,
        host=options.host,
        port=options.port,
        web_workers=options.web_workers,
        web_threads=options.web_threads,
        worker_concurrency=options.worker_concurrency,
        has_demo_data=not options.no_demo_data,
        is_durable=not options.not_durable,
    )
    SupervisorProcess(chosen, say=_say).run()
    return 0


def down(options: argparse.Namespace) -> int:
    """Ask the running supervisor to stop, and wait until it has."""
    home = Home(options.home)
    if not home.is_locked():
        _say("Nothing is running.")
        return 0
    pid = home.read_endpoints().get("supervisor_pid")
    if not isinstance(pid, int):
        raise EmbeddedError(
            f"Something holds {home.root} but has not finished starting; try again, or press its Ctrl-C."
        )
    os.kill(pid, signal.SIGTERM)
    if not wait_until(lambda: not home.is_locked(), seconds=DOWN_SECONDS):
        raise EmbeddedError(f"The supervisor (process {pid}) did not stop within {DOWN_SECONDS:.0f} s.")
    _say("Stopped.")
    return 0


def status(options: argparse.Namespace) -> int:
    """Print what runs and where; exit code 3 when nothing does."""
    home = Home(options.home)
    endpoints = home.read_endpoints() if home.is_locked() else {}
    if not endpoints:
        _say("Nothing is running.")
        return EXIT_NOT_RUNNING
    _say(f"FleetCompute runs at {endpoints['web_url']} (logs in {home.log}).")
    for name, pid in endpoints["pids"].items():
        _say(f"  {name:<12} process {pid}")
    return 0


def erase(options: argparse.Namespace) -> int:
    """Remove the home with all data and keys; refused while something runs."""
    home = Home(options.home)
    if home.is_locked():
        raise EmbeddedError(f"A supervisor runs on {home.root}; stop it first.")
    shutil.rmtree(home.root, ignore_errors=True)
    erase_data(home.root)
    return 0


def services(options: argparse.Namespace) -> int:
    """Run a command with PostgreSQL and Valkey beside it, and return its exit code."""
    if not options.argv:
        raise EmbeddedError("Name the command to run: services -- COMMAND …")
    with Services(options.home, is_durable=not options.not_durable, say=_say) as running:
        try:
            process = subprocess.Popen(
                options.argv,
                env=running.env,
                preexec_fn=tie_to_parent(signal.SIGTERM),  # noqa: PLW1509  # see its docstring
            )
        except OSError as error:
            raise EmbeddedError(f"{options.argv[0]} cannot be run: {error.strerror}.") from None
        # Ctrl-C reaches the command by itself; a SIGTERM for us is passed on. Both leave us waiting for its end.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    return code if code >= 0 else 128 - code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fleetcompute.embedded", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    home = Path(os.environ.get("FLEET_HOME") or PROJECT_ROOT / ".fleet")
    for command in (up, down, status, erase, services):
        sub = commands.add_parser(command.__name__, help=(command.__doc__ or "").splitlines()[0])
        sub.set_defaults(command=command)
        sub.add_argument("--home", type=Path, default=home, help="folder of data, keys and logs (FLEET_HOME)")
        if command in (up, services):
            sub.add_argument("--not-durable", action="store_true", help="do not wait for the disk: for tests")
        if command is up:
            sub.add_argument("--host", default=LOOPBACK, help="address to serve on")
            sub.add_argument("--port", type=int, help="port of the web server; 0 for any (default: 8000 if free)")
            sub.add_argument("--web-workers", type=int, default=2, help="web processes")
            sub.add_argument("--web-threads", type=int, default=4, help="threads of each web process")
            sub.add_argument("--worker-concurrency", type=int, default=2, help="processes of the Celery worker")
            sub.add_argument("--no-demo-data", action="store_true", help="create no demo accounts")
        if command is services:
            sub.add_argument("argv", nargs="*", help="command to run, after --")
    return parser


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
