"""One run: cars call one after the other on a virtual clock, and beat's tasks run between their calls."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from bench.trust.http import world
from bench.trust.http.behaviours import Experience, Honest, KernelBug
from bench.trust.http.books import Books
from bench.trust.http.car import Car, Depot
from bench.trust.http.clock import VirtualClock
from bench.trust.http.options import HttpOptions
from bench.trust.http.scenarios import Scenario

DAY_SECONDS: Final = 86_400.0
# A car that found nothing calls again after this; the product asks for a minute, and nothing would happen in it.
IDLE_SECONDS: Final = 1800.0
OPERATOR_SECONDS: Final = 6 * 3600.0


@dataclass(kw_only=True, slots=True)
class Driver:
    """An owner with his car, and how fast it is."""

    car: Car
    behaviour: Honest
    vehicle_id: int
    address: str
    seconds_per_unit: float
    is_back: int = 0


class Fleet:
    """The cars of a scenario and the server's periodic tasks, in the order of their times."""

    def __init__(self, scenario: Scenario, options: HttpOptions, depot: Depot, books: Books) -> None:
        self.scenario, self.options, self.depot, self.books = scenario, options, depot, books
        self.clock: VirtualClock = depot.clock
        self._rng = random.Random(f"{options.seed} {scenario.name}")
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._identities = count(1)
        self._behaviours = scenario.cast(options.cars, self._rng)
        for index, behaviour in enumerate(self._behaviours):
            # Every home has a network of its own, all of them public.
            self._join(behaviour, address=f"45.{index // 200}.{index % 200}.7", is_back=0)
        if options.anchors:
            self._repeat(self._run_anchor, options.tick_seconds)
        for task, seconds in _list_periodic_tasks():
            self._repeat(task, max(seconds, options.tick_seconds))
        self._repeat(self._operate, OPERATOR_SECONDS)
        self.alarms = 0

    def run(self, is_over: Callable[[], bool]) -> None:
        """Let time pass until the run is over or its days are."""
        while self._events and self._events[0][0] < self.options.days_max * DAY_SECONDS:
            at, _, act = heapq.heappop(self._events)
            self.clock.move_to(max(at, self.clock.seconds))
            act()
            if is_over():
                return

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (seconds, next(self._order), act))

    def _repeat(self, task: Any, seconds: float) -> None:
        def act() -> None:
            task()
            self._at(self.clock.seconds + seconds, act)

        self._at(seconds, act)

    def _operate(self) -> None:
        """Do what an operator does about an alarm: have the runtime mended, and let the batch go on."""
        from workunits.models import Batch
        from workunits.pipeline.intake import resume_batch

        for batch in Batch.objects.filter(status="paused"):
            self.alarms += 1
            for behaviour in self._behaviours:
                if isinstance(behaviour, KernelBug):
                    behaviour.is_mended = True
            resume_batch(project_id=batch.project_id, batch_public_id=batch.public_id)

    def _run_anchor(self) -> None:
        """Let the operator's machine run all that waits; it says that it is there even where nothing does."""
        from workunits.pipeline.anchors import run_next

        while run_next(worker="anchor", now=self.clock.now()):
            pass

    def _join(self, behaviour: Honest, *, address: str, is_back: int) -> None:
        number = next(self._identities)
        vehicle, key = world.make_vehicle(f"owner{number}", self._rng, self.clock.now())
        car = Car(
            depot=self.depot,
            vehicle_id=vehicle.public_id,
            key=key,
            behaviour=behaviour,
            address=address,
            on_report=lambda reported: self.books.note(reported, is_adversary=behaviour.is_adversary),
        )
        pace = self.options.unit_seconds * self._rng.uniform(0.7, 1.3)
        driver = Driver(
            car=car,
            behaviour=behaviour,
            vehicle_id=vehicle.id,
            address=address,
            seconds_per_unit=pace,
            is_back=is_back,
        )
        self._at(self.clock.seconds + self._rng.uniform(0.0, IDLE_SECONDS), lambda: self._call(driver))

    def _call(self, driver: Driver) -> None:
        if self._is_caught(driver) and driver.behaviour.returns:
            self._join(driver.behaviour, address=driver.address, is_back=driver.is_back + 1)
            return  # this identity is left behind with whatever it held
        carried, next_seconds = driver.car.visit(wanted=self.options.units_per_call)
        wait = carried * driver.seconds_per_unit if carried else max(next_seconds, IDLE_SECONDS)
        wait = driver.behaviour.call_seconds or wait
        self._at(self.clock.seconds + wait * self._rng.uniform(0.9, 1.1), lambda: self._call(driver))

    def _is_caught(self, driver: Driver) -> bool:
        """Look at the owner's page; return whether this car's trust was taken since it was last looked at."""
        resets = self.books.count_resets(driver.vehicle_id) if driver.behaviour.is_adversary else 0
        if resets == driver.car.known.resets:
            return False
        driver.car.known = Experience(resets=resets)
        return True


def _list_periodic_tasks() -> Iterator[tuple[Any, float]]:
    """Yield beat's tasks, each with its period in seconds."""
    from fleetcompute.celery import app

    app.finalize()
    app.loader.import_default_modules()
    for entry in app.conf.beat_schedule.values():
        schedule = entry["schedule"]
        yield app.tasks[entry["task"]], float(getattr(schedule, "total_seconds", lambda s=schedule: s)())
