"""A small table for people: two columns for one run, or one row for each of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def format_value(value: object) -> str:
    """Return a number with digits grouped, or any other value as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def format_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return lines with columns as wide as their widest cell; text to the left, numbers to the right."""
    cells = [[format_value(value) for value in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(headings), *cells]) for column in range(len(headings))]
    numeric = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(headings))]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.rjust(width) if is_number else value.ljust(width)
            for value, width, is_number in zip(values, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([line(headings), line(["-" * width for width in widths]), *(line(row) for row in cells)])


def format_report(report: Mapping[str, object]) -> str:
    """Return one run's figures as two columns; nested objects by dotted names, lists by numbered ones."""
    return format_table(["figure", "value"], list(_flatten("", report)))


def _flatten(prefix: str, report: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in report.items():
        if isinstance(value, Mapping):
            yield from _flatten(f"{prefix}{name}.", value)
        elif isinstance(value, list):
            yield from ((f"{prefix}{name}.{number}", _line(item)) for number, item in enumerate(value, start=1))
        else:
            yield f"{prefix}{name}", value


def _line(item: object) -> object:
    """Return an object of a list as one line."""
    if not isinstance(item, Mapping):
        return item
    return ", ".join(f"{name} {format_value(value)}" for name, value in item.items())
