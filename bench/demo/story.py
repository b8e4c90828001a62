"""The demonstration from beginning to end; `run_demo` returns whether all four checks passed."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import Final

from bench.demo import accounts, stage, summary
from bench.demo.cars import Car, stop_all
from bench.demo.cast import CARS, CHEAT, OWNERS
from bench.demo.orders import Order, place_order, upload
from bench.demo.progress import open_display, stamp
from bench.demo.research import Researcher
from bench.demo.settings import Options
from bench.demo.shift import work
from fleetcompute.embedded.process import wait_until

SETTLED_SECONDS: Final = 30.0


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
        return self._conclude(researcher, orders)

    def _work(self, researcher: Researcher, orders: list[Order], cars: list[Car]) -> None:
        totals = {order.workload.title: order.workload.rows for order in orders}
        with closing(open_display(totals, began_at=self.began_at)) as display:
            work(researcher, orders, cars, display)

    def _conclude(self, researcher: Researcher, orders: list[Order]) -> bool:
        from bench.demo import evidence, reading
        from bench.demo.checks import check_cheater, check_ledger, check_output, check_rows
        from bench.demo.spoil import spoil_books, spoil_results

        self.say("All rows are in. Running the same rows directly through onnxruntime to compare")
        compared = evidence.collect(researcher, orders, folder=self.options.output)
        wait_until(reading.is_settled, seconds=SETTLED_SECONDS, every_seconds=0.2)
        read = reading.read_books()
        airports, digits = orders
        results = {item.key: item.result.outputs for item in compared}
        self._print(
            "Nearest neighbours of three texts, out of " + str(airports.workload.rows),
            [
                f"  {line}"
                for line in summary.list_neighbours(airports.workload.notes, results["airports"]["embedding"])
            ],
        )
        self._print("Digits", ["  " + summary.describe_accuracy(results["digits"]["label"], digits.workload.notes)])
        figures = [(order.workload.title, order.workload.rows, order.seconds, order.batch_id) for order in orders]
        self._print("Batches", summary.tabulate_batches(figures, read))
        self._print("Cars", summary.tabulate_cars(read))
        self._print("Owners", summary.tabulate_owners(read))
        doubted, doubted_books = spoil_results(compared, self.options.spoil), spoil_books(read, self.options.spoil)
        checks = [
            check_output(doubted),
            check_rows(doubted),
            check_cheater(doubted_books, owner=CHEAT.owner, car=CHEAT.name),
            check_ledger(doubted_books),
        ]
        self._print("Checks", summary.describe_checks(checks))
        return all(check.has_passed for check in checks)

    def _print(self, title: str, lines: list[str]) -> None:
        print("\n" + "\n".join([title, *lines]), flush=True)
