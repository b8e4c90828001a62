"""Compares what was run, by the specs that admission gave the model, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.special import betaincinv  # type: ignore[import-untyped]

from bench.numerics import UNIT_ROWS
from bench.numerics.downgrade import DOWNGRADES
from bench.numerics.runtime import Outputs, Runtimes, Way
from bench.numerics.subjects import Subject
from workunits.domain.calibration import SAME_CLASS
from workunits.domain.comparison import MATCH_MAX, MISMATCH_MIN, OutputSpec, compare_rows, read_output_specs
from workunits.sandbox.admit import admit
from workunits.sandbox.report import AdmissionRequest, ModelFacts

_TAIL: Final = 0.025
PENALISED, INCONCLUSIVE, PASSED = "penalised", "inconclusive", "passed"


def share_interval(hits: int, trials: int) -> list[float]:
    """Return the exact 95 % interval of a share (Clopper and Pearson, 1934)."""
    low = float(betaincinv(hits, trials - hits + 1, _TAIL)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1.0 - _TAIL)) if hits < trials else 1.0
    return [low, high]


@dataclass(frozen=True, slots=True)
class Specs:
    """How a model's outputs are compared within a class and across classes."""

    same: tuple[OutputSpec, ...]
    across: tuple[OutputSpec, ...]

    @classmethod
    def of(cls, facts: ModelFacts) -> Specs:
        """Return them from what admission found."""
        specs = read_output_specs(facts.outputs)
        found = {(row["output"], row["comparison_class"]): row["tolerance"] for row in facts.tolerances}
        across = tuple(replace(each, tolerance=found.get((each.name, ""), each.tolerance)) for each in specs)
        same = tuple(replace(each, tolerance=found.get((each.name, SAME_CLASS), each.tolerance)) for each in across)
        return cls(same, across)

    def between(self, first: Way, second: Way) -> tuple[OutputSpec, ...]:
        """Return the specs for two ways."""
        return self.same if first.comparison_class == second.comparison_class else self.across


@dataclass
class Tally:
    """All that was counted so far."""

    comparisons: int = 0
    false_mismatches: int = 0
    inconclusive: int = 0
    downgrades: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in DOWNGRADES})
    models: list[dict[str, object]] = field(default_factory=list)

    def add(self, subject: Subject, runtimes: Runtimes, folder: Path) -> None:
        """Admit a model, run it in every way, and judge."""
        model = folder / f"{subject.name}.onnx"
        model.write_bytes(subject.onnx)
        facts = admit(model, AdmissionRequest(outputs=subject.outputs, batch_rows=UNIT_ROWS))
        specs = Specs.of(facts)
        entry: dict[str, object] = {
            "model": subject.name,
            "comparators": " ".join(sorted({str(spec.comparator) for spec in specs.across})),
            "tolerance": max(spec.tolerance for spec in specs.across if spec.comparator != "tokens"),
        }
        entry |= self._add_honest(subject, runtimes, folder, model, specs)
        if subject.units:
            entry |= self._add_downgrades(subject, runtimes, folder, model, specs)
        self.models.append(entry)

    def _add_honest(
        self, subject: Subject, runtimes: Runtimes, folder: Path, model: Path, specs: Specs
    ) -> dict[str, object]:
        rows = _write(folder / "rows.npz", subject.rows(subject.honest_rows))
        ways = runtimes.ways
        found = list(runtimes.run(model, rows, [spec.name for spec in specs.across], ways))
        count, worst = 0, 0.0
        for first, second in combinations(range(len(ways)), 2):
            distances = compare_rows(found[first], found[second], specs.between(ways[first], ways[second]))
            count += len(distances)
            self.false_mismatches += int((distances >= MISMATCH_MIN).sum())
            self.inconclusive += int(((distances > MATCH_MAX) & (distances < MISMATCH_MIN)).sum())
            worst = max(worst, float(distances.max()))
        self.comparisons += count
        return {"comparisons": count, "honest_max": worst}

    def _add_downgrades(
        self, subject: Subject, runtimes: Runtimes, folder: Path, model: Path, specs: Specs
    ) -> dict[str, object]:
        rows = _write(folder / "rows.npz", subject.rows(subject.units * UNIT_ROWS))
        names = [spec.name for spec in specs.across]
        (honest,) = runtimes.run(model, rows, names, [Way()])
        entry: dict[str, object] = {}
        for kind, make in DOWNGRADES.items():
            lower = folder / f"{subject.name}.{kind}.onnx"
            make(model, lower)
            (cheap,) = runtimes.run(lower, rows, names, [Way()])
            outcomes, least = _judge_units(honest, cheap, specs.across)
            self.downgrades[kind] += outcomes
            entry[kind] = f"{outcomes[PENALISED]}/{outcomes.total()}, least {least:.3g}"
        return entry

    def report(self) -> dict[str, object]:
        """Return the figures."""
        figures: dict[str, object] = {
            "comparisons": self.comparisons,
            "false_mismatches": self.false_mismatches,
            "false_mismatches_ci95": share_interval(self.false_mismatches, self.comparisons),
            "inconclusive": self.inconclusive,
            "unit_rows": UNIT_ROWS,
        }
        for kind, outcomes in self.downgrades.items():
            total = outcomes.total()
            figures |= {
                f"{kind}_units": total,
                f"{kind}_penalised": outcomes[PENALISED] / total,
                f"{kind}_penalised_ci95": share_interval(outcomes[PENALISED], total),
                f"{kind}_inconclusive": outcomes[INCONCLUSIVE],
                f"{kind}_passed": outcomes[PASSED],
            }
        return {**figures, "models": self.models, "errors": self.false_mismatches}


def _judge_units(honest: Outputs, cheap: Outputs, specs: Sequence[OutputSpec]) -> tuple[Counter[str], float]:
    """Return what became of each unit, and the least distance of any."""
    outcomes: Counter[str] = Counter()
    least = np.inf
    count = len(honest[specs[0].name])
    for first in range(0, count, UNIT_ROWS):
        unit = slice(first, first + UNIT_ROWS)
        sides: list[dict[str, Any]] = [{name: each[unit] for name, each in side.items()} for side in (honest, cheap)]
        distance = float(compare_rows(sides[0], sides[1], specs).max())
        least = min(least, distance)
        if distance >= MISMATCH_MIN:
            outcomes[PENALISED] += 1
        else:
            outcomes[INCONCLUSIVE if distance > MATCH_MAX else PASSED] += 1
    return outcomes, float(least)


def _write(path: Path, rows: dict[str, Any]) -> Path:
    np.savez(path, **rows)
    return path
