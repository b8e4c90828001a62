"""What the two sides of the sandbox say to each other: one request, one report, both JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

# Tensors by name, each `[rows, ...]`; numpy's, which this module does not import.
Arrays = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmissionLimits:
    """The named maxima of admission. `seconds` is wall time and processor time; `memory_bytes` is address space."""

    model_bytes_max: int = 512 * 1024 * 1024
    memory_bytes: int = 6 * 1024**3
    seconds: int = 120
    report_bytes_max: int = 4 * 1024 * 1024
    opset_min: int = 13
    opset_max: int = 23
    domain_version_max: int = 1000
    ir_version_min: int = 4
    ir_version_max: int = 13
    nodes_max: int = 50_000
    subgraph_levels_max: int = 3
    tensor_elements_max: int = 64 * 1024 * 1024
    name_chars_max: int = 200
    inner_name_chars_max: int = 10_000
    inputs_max: int = 32
    outputs_max: int = 32
    row_bytes_max: int = 64 * 1024 * 1024
    resize_scale_max: float = 64.0
    problems_max: int = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmissionRequest:
    """What the researcher says about the model.

    Attributes:
        fixed_dims: a value for each free dimension that is not the rows', by its name or as `input:axis`.
        batch_rows: rows in a block; 1 is used where the model's first dimension is fixed to 1.
        outputs: `{"name", "comparator"?, "tolerance"?, "options"?}` of the outputs wanted, in this order; None for all.
    """

    fixed_dims: dict[str, int] = field(default_factory=dict)
    batch_rows: int = 16
    outputs: list[dict[str, Any]] | None = None
    limits: AdmissionLimits = field(default_factory=AdmissionLimits)

    def to_json(self) -> str:
        """Return the request as the child reads it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> AdmissionRequest:
        """Read what `to_json` wrote."""
        members = json.loads(text)
        return cls(**{**members, "limits": AdmissionLimits(**members["limits"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One reason to refuse a model. `where` names the node, operator, tensor or dimension; empty for the file."""

    code: str
    where: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What an admitted model is. Inputs and outputs are as in `OnnxModel`: one row each, no leading row dimension.

    `tolerances`: what was measured here, as rows of `ModelTolerance`; they come out a little different on each machine.
    """

    opset: int
    operators: list[str]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    batch_rows: int
    flops_per_row: int
    memory_bytes: int
    seconds_per_block: float
    tolerances: list[dict[str, Any]] = field(default_factory=list)


class Refused(Exception):
    """The model breaks a rule; carries the problems found so far (child side only)."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(problem.detail for problem in problems))


def refuse(code: str, where: str, detail: str) -> Refused:
    """Return the exception for one problem."""
    return Refused(Problem(code=code, where=where, detail=detail))
