"""The load generator: one thread a connection, each with its share of the cars, one sync after the other.

It shares the machine with the server, so it is made to cost little: a sync of ten replicas takes it about a fifth of a
millisecond of processor time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from bench.dispatch.car import SimulatedCar
from bench.dispatch.http import KeptConnection
from bench.dispatch.plan import FleetPlan


class Load:
    """The simulated fleet. Each phase returns when all its threads have ended."""

    def __init__(self, fleet: FleetPlan, *, web_url: str, connections: int) -> None:
        address = urlsplit(web_url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._cars = [SimulatedCar(car, fleet, authority=address.netloc) for car in fleet.cars]
        self._connections = min(connections, len(self._cars))

    def sync_once(self, *, wanted: int) -> list[float]:
        """Let every car sync once, reporting what it holds; return the seconds each sync took."""
        return self._phase(wanted=wanted, until=None)

    def sync_for(self, seconds: float, *, wanted: int) -> list[float]:
        """Let the cars sync in turns, as fast as the server answers; return the seconds each sync took."""
        return self._phase(wanted=wanted, until=time.monotonic() + seconds)

    @property
    def tally(self) -> Counter[str]:
        """What the server told all cars so far."""
        return sum((car.tally for car in self._cars), Counter())

    @property
    def problems(self) -> list[str]:
        """The first things that went wrong, if any."""
        return [problem for car in self._cars for problem in car.problems][:5]

    def _phase(self, *, wanted: int, until: float | None) -> list[float]:
        durations: list[float] = []
        failures: list[BaseException] = []

        def work(cars: list[SimulatedCar]) -> None:
            try:
                durations.extend(self._drive(cars, wanted, until))
            except Exception as failure:  # noqa: BLE001 - the edge of a thread: raised again below
                failures.append(failure)

        shares = [self._cars[index :: self._connections] for index in range(self._connections)]
        _run_threads([lambda share=share: work(share) for share in shares])  # type: ignore[misc]
        if failures:
            raise failures[0]
        return durations

    def _drive(self, cars: list[SimulatedCar], wanted: int, until: float | None) -> list[float]:
        durations: list[float] = []
        with KeptConnection(self._host, self._port) as connection:
            while True:
                for car in cars:
                    if until is not None and time.monotonic() >= until:
                        return durations
                    request = car.request(wanted=wanted)
                    sent_at = time.perf_counter()
                    answer = connection.exchange(request)
                    durations.append(time.perf_counter() - sent_at)
                    car.take(answer)
                if until is None:
                    return durations


def _run_threads(work: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=function) for function in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
