"""The statistics of audits after commit: whole fleets in process, decided by the engine's own rules.

`vehicle` asks `workunits.domain.audits` for every decision (draw, young, decay, final, taken back, standing), as the
pipeline does with the same functions; `fleet` moves leases, audits and anchors' runs from turn to turn. Nothing is
approximated or vectorised: a life of 1,000 units takes some milliseconds.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor

from bench.trust.statistics.course import Course
from bench.trust.statistics.scenarios import SCENARIOS

QUICK_SCALE = 0.05


def run_statistics(options: argparse.Namespace) -> list[dict[str, object]]:
    """Play the scenarios that the options name, and return one object for each."""
    chosen = [each for each in SCENARIOS if options.scenario in (None, each.name)]
    with ProcessPoolExecutor(options.processes or os.cpu_count()) as pool:
        course = Course(pool, seed=options.seed, scale=QUICK_SCALE if options.quick else 1.0)
        return [course.run(scenario) for scenario in chosen]
