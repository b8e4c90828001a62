"""The programs of the project that the supervisor runs beside the services: web, worker, beat, admission and anchor."""

from __future__ import annotations

import dataclasses
import http.client
import signal
import sys

from fleetcompute.embedded.home import Home

ANSWER_SECONDS = 5.0
HEALTH_PATH = "/healthz"
# Few bins are made faster, and a demonstration has few models.
ADMISSION_BIN_BITS = 3
ADMISSION_POLL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A command that must keep running, and how it wants to be ended."""

    name: str
    log_name: str
    argv: tuple[str, ...]
    stop_signal: signal.Signals = signal.SIGTERM
    # What Linux sends when the supervisor was killed: nothing is left to wait for.
    death_signal: signal.Signals = signal.SIGTERM


def web(*, host: str, port: int, workers: int, threads: int) -> Program:
    """Return the web server: `workers` processes of `threads` threads, each thread with a database connection."""
    options = {
        "--interface": "wsgi",
        "--host": host,
        "--port": port,
        "--workers": workers,
        "--blocking-threads": threads,
        "--backlog": 2048,
        "--log-level": "warning",
        "--workers-kill-timeout": 10,
    }
    argv = _module("granian", "--no-ws", "--respawn-failed-workers")
    argv += tuple(str(part) for option in options.items() for part in option)
    return Program(name="web", log_name="web.log", argv=(*argv, "fleetcompute.wsgi:application"))


def worker(*, concurrency: int) -> Program:
    """Return the Celery worker with `concurrency` processes; without the chatter that only many workers need."""
    argv = _module("celery", "-A", "fleetcompute.celery", "worker", "--pool=prefork", f"--concurrency={concurrency}")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")
    # A warm shutdown would wait for a broker that died with the supervisor; tasks are safe to run again.
    return Program(name="worker", log_name="worker.log", argv=(*argv, *quiet), death_signal=signal.SIGQUIT)


def beat(home: Home) -> Program:
    """Return Celery's clock, which nudges the sweep and the settler."""
    schedule = home.run / "beat-schedule"
    # A file that a killed beat left may be damaged, and holds nothing that is worth keeping.
    for path in home.run.glob("beat-schedule*"):
        path.unlink()
    argv = _module("celery", "-A", "fleetcompute.celery", "beat", f"--schedule={schedule}", "--pidfile=")
    return Program(name="beat", log_name="beat.log", argv=(*argv, "--loglevel=WARNING"))


def admission(*, origin: str) -> Program:
    """Return the admission service, with none of the web tier's keys and a folder of its own in FLEET_HOME.

    Here it runs as the same user as the web and with the offline keys beside it: that is for demonstrations, and is
    what a real installation must not do.
    """
    argv = (sys.executable, "manage.py", "admission_service", "--settings=fleetcompute.settings.admission")
    options = (
        "--accept-weak-sandbox",
        f"--demo-origin={origin}",
        f"--bin-bits={ADMISSION_BIN_BITS}",
        f"--poll-seconds={ADMISSION_POLL_SECONDS}",
    )
    return Program(name="admission", log_name="admission.log", argv=(*argv, *options))


def anchor() -> Program:
    """Return an anchor: it runs units again, in the vehicle client's confined runner, as audits and disputes ask for.

    Where this machine cannot confine a model it says so, rests, and looks again.
    """
    argv = (sys.executable, "manage.py", "anchor", "--name=embedded")
    return Program(name="anchor", log_name="anchor.log", argv=argv)


def answers_http(host: str, port: int) -> bool:
    """Tell whether the web server says that it lives."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", HEALTH_PATH, headers={"Host": "localhost"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _module(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)
