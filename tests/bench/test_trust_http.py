"""Small fleets with liars in them against the whole product over HTTP, in virtual days that take seconds."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from bench.trust import add_arguments
from bench.trust.http import HttpOptions, run_scenarios, truth
from bench.trust.http.options import decode_options, encode_options, read_options
from bench.trust.http.scenarios import SCENARIOS

# Each kind of liar, how many of them there are among twelve cars, and within how many commitments they are found.
LIARS = {
    "faulty": (1, 20),
    "cheating": (1, 6),
    "sleeping": (1, 40),
    "returning": (1, 10),
    "colluding": (2, 40),
    "copying": (1, 10),
    "half_precision": (1, 6),
    "kernel_bug": (2, 40),
}


def read(*arguments: str) -> HttpOptions | None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_options(parser.parse_args(arguments))


def test_options_are_handed_to_the_stage_as_they_are():
    options = HttpOptions(scenarios=("standard_honest",), cars=3, inline=False)
    assert decode_options(encode_options(options)) == options


def test_a_scenario_of_the_statistics_is_not_run_over_http():
    assert read("--scenario", "malicious") is None
    chosen = read("--scenario", "standard_sleeping", "--quick", "--seed", "7")
    assert chosen == HttpOptions(scenarios=("standard_sleeping",), cars=12, units_per_car=12, seed=7)


def test_a_run_may_be_as_long_as_the_statistics_are():
    chosen = read("--scenario", "standard_honest", "--cars", "30", "--units", "1000")
    assert chosen == HttpOptions(scenarios=("standard_honest",), cars=30, units_per_car=1_000)


def test_classes_differ_in_every_output_and_none_of_them_is_wrong():
    inputs = truth.make_inputs(truth.UNIT_ROWS, seed=1)
    right = truth.compute(inputs)
    first, second = (truth.with_noise(right, name, b"input") for name in ("one", "other"))
    assert not np.array_equal(first, second)
    assert not truth.is_wrong(first, right)
    assert truth.is_wrong(truth.compute_in_half(inputs), right)


def test_every_kind_of_adversary_is_in_some_scenario():
    assert {who for scenario in SCENARIOS for who in scenario.adversaries} == {*LIARS, "fishing"}


@pytest.mark.slow
def test_a_quorum_of_two_completes_a_batch_rightly_in_spite_of_a_cheater():
    (report,) = run_scenarios(
        HttpOptions(scenarios=("quorum_2_cheating",), cars=12, units_per_car=8, inline=False, days_max=6)
    )
    assert report["complaints"] == []
    assert report["problems"] == {}
    assert (report["status"], report["rows_once"], report["file_rows_wrong"]) == ("completed", True, 0)
    assert (report["accepted_wrong"], report["rows_final"]) == (0.0, 12 * 8 * truth.UNIT_ROWS)
    assert report["outcomes"]["upload_204"] == report["reported"] > 2 * 12 * 8


@pytest.mark.slow
def test_audits_catch_colluders_take_back_what_they_made_up_and_leave_honest_cars_alone():
    (report,) = run_scenarios(
        HttpOptions(scenarios=("standard_colluding",), cars=12, units_per_car=36, inline=False, days_max=12)
    )
    assert report["complaints"] == []
    assert report["problems"] == {}
    assert (report["status"], report["rows_once"]) == ("completed", True)
    assert (report["accepted_wrong"], report["file_rows_wrong"]) == (0.0, 0)
    assert report["rows_final"] == 12 * 36 * truth.UNIT_ROWS
    assert report["provisional_wrong"] > 0.0  # they did lie, and were believed for a while
    assert report["resets"] > 0
    assert report["honest_vehicles_reset"] == 0
    assert report["detection_delay_units"] is not None
    # Neither the wire's third answer nor the anchors were left out.
    assert report["outcomes"]["keep"] > 0
    assert report["anchor_runs"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(LIARS))
def test_every_kind_of_liar_is_found_soon_and_only_he_and_nothing_wrong_is_in_the_file(kind):
    cars, delay_max = LIARS[kind]
    options = HttpOptions(scenarios=(f"standard_{kind}",), cars=12, units_per_car=48, inline=False, days_max=12)
    (report,) = run_scenarios(options)
    assert (report["complaints"], report["problems"], report["honest_vehicles_reset"]) == ([], {}, 0)
    # A returner is another owner each time, and his last one may come too late with his lie to be judged.
    late = kind == "returning"
    assert report["liars"] >= 5 if late else report["liars"] == cars
    assert report["liars"] - late <= report["liars_caught"] <= report["liars"]
    assert report["provisional_wrong"] > 0.0
    assert 1 <= report["detection_delay_units"] <= delay_max
    assert (report["status"], report["rows_once"], report["file_rows_wrong"]) == ("completed", True, 0)
    assert (report["accepted_wrong"], report["rows_final"]) == (0.0, 12 * 48 * truth.UNIT_ROWS)
    assert report["met"]


@pytest.mark.slow
def test_friends_who_hand_back_all_but_each_others_lies_audit_few_of_them():
    (report,) = run_scenarios(HttpOptions(scenarios=("standard_fishing",), cars=20, units_per_car=40, days_max=12))
    assert (report["complaints"], report["problems"], report["honest_vehicles_reset"]) == ([], {}, 0)
    assert (report["status"], report["rows_once"]) == ("completed", True)
    assert report["outcomes"]["returned"] > 20 * 40
    assert report["liars_caught"] == report["liars"] == 2
    assert report["lies_audited"] >= 10
    assert report["friend_share"] <= 0.2
