"""Sets the stage: an empty home, all services, models and datasets, people with accounts, paired cars."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from bench.demo import accounts
from bench.demo.cars import Car, stop_all
from bench.demo.cast import CARS, OWNERS, PASSWORD, username_of
from bench.demo.data import Workload, make_airports, make_digits, read_airports
from bench.demo.portal import OwnerBrowser
from bench.demo.settings import Options, server_env
from fleetcompute.embedded import EmbeddedError, Supervisor
from fleetcompute.embedded.home import Home
from fleetcompute.embedded.identity import erase_data

FOREIGN: Final = ("DATABASE_URL", "CELERY_BROKER_URL", "CACHE_URL", "BLOB_STORE_URL", "FLEET_HOME")


def clear(options: Options) -> None:
    """Erase what an earlier run has left. Raises EmbeddedError when its services still run.

    Addresses of other services in the environment are forgotten: the demonstration never touches another database.
    """
    for name in FOREIGN:
        os.environ.pop(name, None)
    if options.home.exists() and Home(options.home).is_locked():
        raise EmbeddedError(f"A supervisor runs on {options.home}; stop it first.")
    shutil.rmtree(options.home, ignore_errors=True)
    erase_data(options.home)
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)


def start_server(options: Options, stack: ExitStack) -> tuple[str, list[Workload]]:
    """Start everything that a server needs, and make models and datasets meanwhile.

    Returns the server's address and the workloads; the server ends with `stack`.
    """
    folder = options.home / "demo"
    folder.mkdir(parents=True)
    with ThreadPoolExecutor(max_workers=1) as maker:
        # The maker is the thread, not the server: on Linux the server ends when the thread that started it does.
        making = [maker.submit(make, folder, rows_max=options.rows) for make in (make_airports, make_digits)]
        env = server_env(options.rows or len(read_airports()))
        supervisor = stack.enter_context(Supervisor(home=options.home, env=env))
        workloads = [future.result() for future in making]
    accounts.open_installation(supervisor.env)
    return supervisor.web_url, workloads


def pair_cars(options: Options, stack: ExitStack, *, origin: str, say: Callable[[str], None]) -> list[Car]:
    """Let every car ask for pairing, and its owner approve it in the portal. The cars end with `stack`."""
    folder = options.home / "cars"
    cars: list[Car] = []
    stack.callback(stop_all, cars)
    for plan in CARS:
        cars.append(Car(plan, folder=folder, origin=origin))
        cars[-1].ask_for_pairing()
    browsers = {owner: _signed_in(owner, origin) for owner in OWNERS}
    for car in cars:
        code, number = car.read_code()
        browsers[car.plan.owner].approve(code, number)
        say(f"{car.plan.owner} approves the {car.plan.name}, which shows {code} and the number {number}")
    for car in cars:
        car.wait_paired()
    return cars


def _signed_in(owner: str, origin: str) -> OwnerBrowser:
    browser = OwnerBrowser(origin)
    browser.sign_in(username=username_of(owner), password=PASSWORD)
    return browser
