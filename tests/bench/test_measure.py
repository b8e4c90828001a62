"""What the benchmarks measure with."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from bench.measure.machine import describe_machine
from bench.measure.percentiles import latency_summary, percentile
from bench.measure.processes import ProcessorTime, read_processor_time
from bench.measure.statements import Statement, fold_lanes
from bench.measure.table import format_report, format_table

BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.2, 1.0), (0.5, 3.0), (0.95, 5.0), (0.99, 5.0), (1.0, 5.0)]
)
def test_a_percentile_is_a_value_that_was_measured(share, expected):
    assert percentile([1.0, 2.0, 3.0, 4.0, 5.0], share) == expected


def test_nothing_measured_has_zeros_for_percentiles():
    assert latency_summary([]) == {"p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}


def test_latencies_are_summed_up_in_milliseconds():
    assert latency_summary([0.003, 0.001, 0.002]) == {"p50_ms": 2.0, "p95_ms": 3.0, "p99_ms": 3.0, "max_ms": 3.0}


def test_processor_time_counts_a_child_that_has_ended_and_leaves_out_other_processes():
    # The parent computes nothing itself: all its time is its child's, which is gone when we look.
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}]); input()"],
        stdin=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 20
        while (spent := read_processor_time({"web": parent.pid}).seconds["web"]) < 0.3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert spent < os.times().elapsed
        both = read_processor_time({"web": parent.pid, "worker": parent.pid})
        assert both.seconds["worker"] == pytest.approx(both.seconds["web"], abs=0.1)
    finally:
        parent.communicate(b"\n", timeout=20)


def test_processor_time_is_told_for_each_item_and_kind():
    spent = ProcessorTime({"web": 3.0, "postgres": 6.0}).since(ProcessorTime({"web": 1.0}))
    assert spent.ms_per_item(1000) == {"postgres": 6.0, "web": 2.0, "total": 8.0}


def test_a_table_has_columns_as_wide_as_their_widest_cell():
    assert format_table(["name", "value"], [["a", 1234567], ["long name", 2]]).splitlines() == [
        "name           value",
        "---------  ---------",
        "a          1,234,567",
        "long name          2",
    ]


def test_a_report_shows_nested_figures_by_their_path():
    report = {"a": {"b": 0.12345}, "c": True, "d": [], "e": ["x", {"calls": 2, "ms": 0.5}]}
    assert format_report(report).splitlines()[2:] == [
        "a.b     0.123",
        "c       True",
        "e.1     x",
        "e.2     calls 2, ms 0.5",
    ]


def test_statements_that_differ_only_in_their_lane_are_added_up():
    first, second, other = (
        Statement(text=text, calls=calls, total_ms=spent, rows=calls, wal_bytes=10)
        for text, calls, spent in [
            ("SELECT FROM unit_3", 1, 2.0), ("SELECT FROM unit_13", 2, 3.0), ("SELECT FROM batch_3", 3, 4.0),
        ]
    )  # fmt: skip
    assert fold_lanes([other, second, first]) == [
        Statement(text="SELECT FROM unit", calls=3, total_ms=5.0, rows=3, wal_bytes=20),
        other,
    ]


def test_the_machine_is_described():
    assert set(describe_machine()) == {"processor", "cores", "memory_gib", "load_average", "system", "python"}
