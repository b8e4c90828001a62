"""The benchmark of numerics: its intervals, its ways, and one quick run of all of it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np
import pytest

from bench.models.vision import make_detector, make_segmenter
from bench.numerics.judge import Specs, _judge_units, share_interval
from bench.numerics.runtime import HONEST, Way
from fleetcompute.embedded.home import PROJECT_ROOT
from workunits.domain.comparison import read_output_specs
from workunits.sandbox.report import ModelFacts


def test_the_interval_of_a_share_is_the_exact_one() -> None:
    assert share_interval(0, 100) == [0.0, pytest.approx(1 - 0.025 ** (1 / 100))]
    assert share_interval(100, 100) == [pytest.approx(0.025 ** (1 / 100)), 1.0]
    low, high = share_interval(5, 10)
    assert low == pytest.approx(0.18709, abs=1e-5)
    assert high == pytest.approx(0.81291, abs=1e-5)


def test_three_thousand_seven_hundred_units_without_a_miss_are_enough() -> None:
    assert share_interval(3700, 3700)[0] >= 0.999


def test_the_honest_ways_differ_in_all_that_cars_differ_in() -> None:
    for name, least in (("level", 3), ("threads", 2), ("block", 4), ("runtime", 2)):
        assert len({getattr(way, name) for way in HONEST}) >= least
    assert len(set(HONEST)) == len(HONEST)


def test_ways_of_one_class_are_compared_more_closely() -> None:
    output = {"name": "y", "dtype": "F32", "shape": [3], "comparator": "int8", "tolerance": 0.05}
    rows = [{"output": "y", "comparison_class": name, "tolerance": size} for name, size in (("", 0.05), ("*", 0.005))]
    facts = ModelFacts(
        opset=17, operators=[], inputs=[], outputs=[output], batch_rows=16, flops_per_row=1, memory_bytes=1,
        seconds_per_block=1.0, tolerances=rows,
    )  # fmt: skip
    specs = Specs.of(facts)
    assert specs.between(Way(), Way(threads=2))[0].tolerance == 0.005
    assert specs.between(Way(), Way(level="none"))[0].tolerance == 0.05
    assert specs.between(Way(), Way(runtime=1))[0].tolerance == 0.05


def test_a_downgrade_is_judged_unit_by_unit() -> None:
    output = {"name": "y", "dtype": "F32", "shape": [4], "comparator": "embedding", "tolerance": 1e-4}
    specs = read_output_specs([output])
    honest = {"y": np.ones((48, 4), np.float32)}
    cheap = {"y": honest["y"].copy()}
    cheap["y"][20] *= np.float32(1.001)  # ten tolerances, in one row of the second unit
    cheap["y"][40] *= np.float32(1.0002)
    outcomes, least = _judge_units(honest, cheap, specs)
    assert (dict(outcomes), least) == ({"passed": 1, "penalised": 1, "inconclusive": 1}, 0.0)


@pytest.mark.parametrize("make", [make_detector, make_segmenter])
def test_the_vision_models_are_the_same_every_time(make) -> None:
    assert make().SerializeToString() == make().SerializeToString()


@pytest.mark.slow
def test_a_quick_run_finds_every_downgrade_and_blames_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "numerics", "--quick", "--other-runtime", "", "--json"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["comparisons"] > 1000
    assert (report["false_mismatches"], report["errors"]) == (0, 0)
    assert (report["fp16_as_fp32_penalised"], report["int8_as_fp32_penalised"]) == (1.0, 1.0)
    assert report["other_runtime_missing"] == "none was asked for"


def test_a_runtime_that_cannot_be_installed_is_named_in_the_report(tmp_path) -> None:
    from bench.numerics import add_arguments
    from bench.numerics.runtime import Runtimes

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args([]).other_runtime == "1.29.0"
    runtimes = Runtimes(tmp_path, "0.0.0.1")
    assert runtimes.report()["runtimes"] == [runtimes.versions[0]]
    assert "onnxruntime 0.0.0.1 cannot be installed" in str(runtimes.report()["other_runtime_missing"])
    assert {way.runtime for way in runtimes.ways} == {0}
