"""Small charts as SVG, made here, for the console loads nothing from elsewhere; beside each is a table of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH: Final = 720
HEIGHT: Final = 180
LEFT: Final = 88
BOTTOM: Final = 22
TOP: Final = 8


class Point(NamedTuple):
    """A place on a chart: `x` in [0, 1] from left to right, `y` in the chart's unit."""

    x: float
    y: float


def line_chart(
    series: Mapping[str, Sequence[Point]], *, title: str, x_labels: Sequence[str], y_max: float = 1.0, unit: str = ""
) -> SafeString:
    """Return lines, one for each series in the order of its name, from 0 to `y_max`; `x_labels` are spread below."""
    series = dict(sorted(series.items()))
    return format_html(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}{}</svg>',
        WIDTH, HEIGHT, title, _grid(y_max, unit), _labels(x_labels), _lines(series, y_max), _legend(list(series)),
    )  # fmt: skip


def _place(point: Point, y_max: float) -> tuple[float, float]:
    across, up = WIDTH - LEFT - 8, HEIGHT - BOTTOM - TOP
    share = min(1.0, max(0.0, point.y / y_max)) if y_max else 0.0
    return round(LEFT + point.x * across, 1), round(TOP + (1 - share) * up, 1)


def _grid(y_max: float, unit: str) -> SafeString:
    marks = [(_place(Point(0, share * y_max), y_max)[1], share * y_max) for share in (0, 0.25, 0.5, 0.75, 1)]
    return format_html_join(
        "",
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="tick" x="{}" y="{}">{}{}</text>',
        ((LEFT, WIDTH - 8, y, y, LEFT - 4, y + 4, f"{value:.3g}", unit) for y, value in marks),
    )


def _labels(labels: Sequence[str]) -> SafeString:
    last = max(1, len(labels) - 1)
    anchors = ["start", *["middle"] * max(0, len(labels) - 2), "end"]
    return format_html_join(
        "",
        '<text class="label" x="{}" y="{}" text-anchor="{}">{}</text>',
        (
            (_place(Point(place / last, 0), 1)[0], HEIGHT - 6, anchors[place], label)
            for place, label in enumerate(labels)
        ),
    )


def _lines(series: Mapping[str, Sequence[Point]], y_max: float) -> SafeString:
    return format_html_join(
        "",
        '<polyline class="line-{}" points="{}"/>{}',
        (
            (number, " ".join("{},{}".format(*_place(point, y_max)) for point in points), _dots(number, points, y_max))
            for number, points in enumerate(series.values())
        ),
    )


def _dots(number: int, points: Sequence[Point], y_max: float) -> SafeString:
    """Mark points where there are few: a line of one point is invisible."""
    few = points if len(points) <= 31 else []
    return format_html_join(
        "",
        '<circle class="dot-{}" r="2.5" cx="{}" cy="{}"/>',
        ((number, *_place(point, y_max)) for point in few),
    )


def _legend(names: Sequence[str]) -> SafeString:
    return format_html_join(
        "",
        '<text class="legend dot-{}" x="{}" y="{}" text-anchor="end">{}</text>',
        ((number, WIDTH - 12, TOP + 12 + 15 * number, name) for number, name in enumerate(names) if len(names) > 1),
    )
