"""The end: results that a person understands, figures, and the four checks, printed and kept beside the results."""

from __future__ import annotations

from typing import Final

from bench.demo import reading, summary
from bench.demo.books import Books
from bench.demo.cast import CHEAT
from bench.demo.checks import Check, Compared, check_cheater, check_ledger, check_output, check_rows
from bench.demo.evidence import collect
from bench.demo.orders import Order
from bench.demo.research import Researcher
from bench.demo.settings import Options
from bench.demo.spoil import spoil_books, spoil_results
from fleetcompute.embedded.process import wait_until

SETTLED_SECONDS: Final = 30.0
REPORT: Final = "report.txt"


def conclude(options: Options, researcher: Researcher, orders: list[Order]) -> bool:
    """Fetch the results, compare, read the books and report; return whether all four checks passed."""
    compared = collect(researcher, orders, folder=options.output)
    wait_until(reading.is_settled, seconds=SETTLED_SECONDS, every_seconds=0.2)
    books = reading.read_books()
    checks = _check(compared, books, spoil=options.spoil)
    figures = [(order.workload.title, order.workload.rows, order.seconds, order.batch_id) for order in orders]
    sections = {
        **_describe_results(orders, compared),
        "Batches, and how the leases of their work units ended": summary.tabulate_batches(figures, books),
        "Cars, and what their owners earned": summary.tabulate_cars(books),
        "Checks": summary.describe_checks(checks),
    }
    report = "".join(f"\n{title}\n" + "".join(f"{line}\n" for line in lines) for title, lines in sections.items())
    print(report, end="", flush=True)
    (options.output / REPORT).write_text(report.lstrip(), encoding="utf-8")
    return all(check.has_passed for check in checks)


def _check(compared: list[Compared], books: Books, *, spoil: str | None) -> list[Check]:
    compared, books = spoil_results(compared, spoil), spoil_books(books, spoil)
    return [
        check_output(compared),
        check_rows(compared),
        check_cheater(books, owner=CHEAT.owner, car=CHEAT.name),
        check_ledger(books),
    ]


def _describe_results(orders: list[Order], compared: list[Compared]) -> dict[str, list[str]]:
    outputs = {item.key: item.result.outputs for item in compared}
    notes = {order.workload.key: order.workload.notes for order in orders}
    return {
        f"Nearest neighbours of three airport names, out of {len(notes['airports'])}": summary.list_neighbours(
            notes["airports"], outputs["airports"]["embedding"]
        ),
        "Handwritten digits": [f"  {summary.describe_accuracy(outputs['digits']['label'], notes['digits'])}"],
    }
