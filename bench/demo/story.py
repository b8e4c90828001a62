"""The demonstration from beginning to end; `run_demo` returns whether all four checks passed."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing

from bench.demo import accounts, stage
from bench.demo.cars import Car, stop_all
from bench.demo.cast import CARS, OWNERS
from bench.demo.orders import Order, place_order, upload
from bench.demo.progress import open_display, stamp
from bench.demo.research import Researcher
from bench.demo.settings import Options
from bench.demo.shift import work


def run_demo(options: Options) -> bool:
    """Play it and print it. Everything that was started has ended when this returns or raises."""
    with ExitStack() as stack:
        return _Story(options, stack).tell()


class _Story:
    def __init__(self, options: Options, stack: ExitStack) -> None:
        self.options = options
        self.stack = stack
        self.began_at = time.monotonic()

    def say(self, sentence: str) -> None:
        print(stamp(self.began_at, sentence), flush=True)

    def tell(self) -> bool:
        stage.clear(self.options)
        self.say("Starting PostgreSQL, Valkey, web server and workers; building a model of 90 MB and one of 40 kB")
        origin, workloads = stage.start_server(self.options, self.stack)
        accounts.sign_up_owners()
        researcher = Researcher(origin, accounts.sign_up_researcher())
        self.say(f"Serving at {origin}. The researcher uploads models and datasets")
        uploaded = [upload(researcher, workload) for workload in workloads]
        self.say(f"Both models passed admission. {len(CARS)} cars of {len(OWNERS)} owners ask to be paired")
        cars = stage.pair_cars(self.options, self.stack, origin=origin, say=self.say)
        orders = [place_order(researcher, item) for item in uploaded]
        self.say("Two batches ordered, each row to be computed by cars of two owners at least. The cars start")
        self._work(researcher, orders, cars)
        stop_all(cars)
        self.say("All rows are in. Running the same rows directly through onnxruntime to compare")
        from bench.demo.conclusion import conclude  # it reads the database, which is known only now

        return conclude(self.options, researcher, orders)

    def _work(self, researcher: Researcher, orders: list[Order], cars: list[Car]) -> None:
        totals = {order.workload.title: order.workload.rows for order in orders}
        with closing(open_display(totals, began_at=self.began_at)) as display:
            work(researcher, orders, cars, display)
