"""The statistics of `trust`: its interval, its optimum, and small fleets whose books add up."""

import argparse
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from bench.trust import add_arguments, run
from bench.trust.statistics.course import Course, play
from bench.trust.statistics.fleet import Fleet, World
from bench.trust.statistics.interval import gamma_interval
from bench.trust.statistics.optimum import find_optimum
from bench.trust.statistics.scenarios import RULES, SCENARIOS
from bench.trust.statistics.strategies import FAULTY, HONEST, Constant, make_grid
from workunits.domain.audits.levels import AUDIT_FACTOR, VerificationLevel
from workunits.domain.replicas import ReplicaRole

KEYS = {
    "name", "fleet", "level", "models", "strategy", "adversarial_share", "replication", "anchor_share",
    "accepted_wrong",
    "accepted_wrong_ci95", "provisional_wrong", "provisional_wrong_ci95", "detection_delay_units",
    "detected_share", "bound", "optimum", "lives", "target", "met",
}  # fmt: skip
SMALL = World(level=VerificationLevel.STANDARD, rules=RULES, lives_units=200, soft_error=0.0)


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--part", "statistics", "--quick", "--processes", "1", *arguments])


def test_the_interval_of_equal_events_is_that_of_a_poisson_count():
    assert gamma_interval([], 1000.0) == pytest.approx((0.0, 3.6889e-3), rel=1e-4)
    assert gamma_interval([1] * 10, 1.0) == pytest.approx((4.7954, 18.3904), rel=1e-4)


def test_an_interval_by_weight_is_the_interval_by_count_whatever_a_unit_weighs():
    for count in (0, 1, 10):
        by_weight = gamma_interval([3e6] * count, 3e9, event_max=3e6)
        assert by_weight == pytest.approx(gamma_interval([1] * count, 1_000.0))


def test_an_interval_covers_what_lumps_do_that_are_too_rare_to_be_seen():
    # One car in four has two wrong results, one in eighty has sixty; half of all fleets of forty have none of these.
    rng, covered = random.Random(1), 0
    for _ in range(200):
        sizes = [rng.choice([2] * 19 + [60]) for _ in range(40) if rng.random() < 1 / 4]
        covered += gamma_interval(sizes, 40, event_max=60.0)[1] >= (2 * 0.95 + 60 * 0.05) / 4
    assert covered >= 195


def test_events_of_eight_at_once_make_the_interval_wider():
    lumps, singles = gamma_interval([8] * 5, 1.0), gamma_interval([1] * 40, 1.0)
    assert lumps[0] < singles[0] < 40 < singles[1] < lumps[1]
    assert lumps == pytest.approx((8 * 1.6235, 8 * 11.6683), rel=1e-3)


@pytest.mark.parametrize("level", list(AUDIT_FACTOR))
@pytest.mark.parametrize("friend_share", [0.0, 0.05])
def test_the_best_of_all_strategies_keeps_the_bound_and_comes_near_it(level, friend_share):
    best = find_optimum(level, RULES, 400, friend_share)
    assert 0.4 < best.wrong_final / 400 * AUDIT_FACTOR[level] <= 1.0
    assert not best.cheats[:, 0].any()  # nobody gains by a lie that an anchor is certain to see


def test_an_honest_fleet_has_nothing_wrong_and_runs_little_twice():
    tally = play(SMALL, [HONEST] * 40, 1)
    assert (tally.wrong_final, tally.wrong_given, tally.delays) == ([], [], [])
    assert tally.final == tally.results >= 40 * 195
    # 1 + (30 + 52.6 ln(251/81)) / 200 = 1.45, and a little for decay, late audits, known answers and anchors.
    assert 1.44 < (tally.runs + tally.anchor_runs) / tally.final < 1.55


def test_a_fleet_repeats_with_its_seed_and_differs_with_another():
    mix = [*([HONEST] * 20), *([FAULTY] * 5)]
    assert play(SMALL, mix, 7) == play(SMALL, mix, 7)
    assert play(SMALL, mix, 7) != play(SMALL, mix, 8)


def test_liars_are_found_and_almost_all_that_they_did_is_taken_back():
    always = Constant(name="always", share=1.0)
    tally = play(SMALL, [*([HONEST] * 20), *([always] * 5)], 3)
    assert tally.wrong_final == []
    assert tally.final <= 20 * 200
    assert len(tally.delays) > 20


def test_who_shuns_audits_gets_none_and_keeps_more_of_his_lies():
    blind = Constant(name="blind", share=0.1, units=40.0)
    shunning = replace(blind, name="shunning", shuns=True)
    world = replace(SMALL, lives_units=300)
    fleet = Fleet(world, [*([HONEST] * 60), *([blind] * 20), *([shunning] * 20)], 11)
    fleet.run()
    kept = {each.strategy.name: 0 for each in fleet.cars}
    for car in fleet.cars:
        kept[car.strategy.name] += sum(each.final_wrong for each in (*car.old, car.vehicle))
        if car.strategy.shuns:
            assert all(ReplicaRole.AUDIT not in each.roles for each in (*car.old, car.vehicle))
    assert kept["honest"] == 0
    assert kept["shunning"] > 1.5 * kept["blind"] > 0


def test_a_life_of_lies_that_nobody_found_counts_as_undetected():
    liar = Constant(name="liar", share=0.02, units=60.0, shuns=True)
    tally = play(SMALL, [*([HONEST] * 30), *([liar] * 10)], 2)
    assert len(tally.delays) > 0
    assert tally.unfound > 0


def test_every_strategy_plays_to_its_end():
    # `play` raises where a result is neither final nor taken back.
    tally = play(SMALL, [*([HONEST] * 60), *make_grid(units=200), *make_grid(units=200, friend_share=0.05)], 5)
    assert tally.results > tally.final > 60 * 190


def test_a_quick_run_prints_each_figure_and_honest_fleets_reach_their_target():
    report: dict[str, Any] = run(options("--scenario", "honest"))
    (figures,) = report["scenarios"]
    assert figures.keys() == KEYS
    assert (figures["fleet"], figures["level"], figures["models"], figures["lives"]) == (
        "all honest",
        "standard",
        1,
        150,
    )
    assert 1.16 < figures["replication"] <= 1.20
    assert figures["accepted_wrong_ci95"][0] <= figures["accepted_wrong"] <= figures["accepted_wrong_ci95"][1]
    assert figures["met"] is True
    assert report["missed"] == []


def test_the_worst_strategy_is_chosen_before_the_figures_are_taken():
    scenario = next(each for each in SCENARIOS if each.name == "malicious-economy")
    with ThreadPoolExecutor(1) as pool:
        figures: dict[str, Any] = Course(pool, seed=1, scale=0.006).run(scenario)
    assert figures["strategy"] in {each.name for each in make_grid(units=1_000)}
    assert figures["adversarial_share"] == pytest.approx(1 / 60)
    assert figures["bound"] == pytest.approx(1 / 600 + 1e-5)
    assert figures["optimum"] <= 1 / 600


def test_a_scenario_of_no_such_name_is_refused():
    with pytest.raises(SystemExit, match="No scenario is called 'none'"):
        run(options("--scenario", "none"))
