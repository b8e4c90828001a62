"""How far two outputs of one work unit are apart, in units of the tolerance: at most 1 agrees, at least 4 does not.

In: two safetensors documents that passed `tensors.check_document`. Out: one number, the worst row of the worst tensor.
Symmetric in its arguments, so that a verdict cannot depend on which output came first. The rules follow the measured
spread of honest devices (relative L2 of fp32 below 1e-5 across instruction sets; a cheaper precision is above 5e-4).
`docs/reference/comparators.md` has every rule; `calibration` chooses the tolerances.
"""

from __future__ import annotations

from workunits.domain.comparison.measure import (
    DOUBT,
    MATCH_MAX,
    MISMATCH_MIN,
    compare_rows,
    compare_tensors,
    measure_distance,
    measure_tensors,
)
from workunits.domain.comparison.options import ComparatorOptions, OptionInvalid, read_options
from workunits.domain.comparison.specs import Comparator, OutputSpec, find_misfits, read_output_specs

__all__ = [
    "DOUBT",
    "MATCH_MAX",
    "MISMATCH_MIN",
    "Comparator",
    "ComparatorOptions",
    "OptionInvalid",
    "OutputSpec",
    "compare_rows",
    "compare_tensors",
    "find_misfits",
    "measure_distance",
    "measure_tensors",
    "read_options",
    "read_output_specs",
]
