"""The working part: cars compute, things happen to some of them, until both batches have ended."""

from __future__ import annotations

import time
from typing import Final

from bench.demo.cars import Car
from bench.demo.incidents import Crash, Departure, look_at_all
from bench.demo.orders import Order, share_done
from bench.demo.progress import Display
from bench.demo.research import Researcher

LOOK_SECONDS: Final = 0.15
POLL_SECONDS: Final = 0.6
SHIFT_SECONDS_MAX: Final = 420.0


class ShiftTooLong(RuntimeError):
    """The batches did not end in time."""


def work(researcher: Researcher, orders: list[Order], cars: list[Car], display: Display) -> None:
    """Start the cars and watch until every batch has ended. Raises ShiftTooLong."""
    from bench.demo.reading import count_expired

    incidents: list[Departure | Crash] = [
        Departure(_car_with_role(cars, "leaves")),
        Crash(_car_with_role(cars, "dies"), count_expired=count_expired),
    ]
    for car in cars:
        car.start()
    began_at, polled_at = time.monotonic(), 0.0
    while not all(order.has_ended for order in orders):
        now = time.monotonic()
        if now - began_at > SHIFT_SECONDS_MAX:
            states = ", ".join(order.progress["status"] for order in orders)
            raise ShiftTooLong(f"The batches did not end within {SHIFT_SECONDS_MAX:.0f} s; they are {states}.")
        if now - polled_at >= POLL_SECONDS:
            polled_at = now
            _poll(researcher, orders, display)
        for sentence in look_at_all(incidents, share_done(orders), now):
            display.say(sentence)
        time.sleep(LOOK_SECONDS)


def _poll(researcher: Researcher, orders: list[Order], display: Display) -> None:
    for order in orders:
        if not order.has_ended:
            order.progress = researcher.get_progress(order.batch_id)
        if order.has_ended:
            order.progress = researcher.get_batch(order.batch_id)
    display.show({order.workload.title: order.rows_done for order in orders})


def _car_with_role(cars: list[Car], role: str) -> Car:
    return next(car for car in cars if car.plan.role == role)
