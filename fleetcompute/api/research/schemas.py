"""The shapes of the researcher's API as OpenAPI 3.1 components (JSON Schema 2020-12); tests check answers by them."""

from __future__ import annotations

from typing import Any, Final

from workunits.domain.audits.levels import ADVERSARIAL_SHARE_DEFAULT, Finality, VerificationLevel
from workunits.domain.comparison import Comparator
from workunits.domain.states import BatchOutcome, BatchStatus, ReplicaState, UnitState
from workunits.domain.types import DTYPE_BYTES
from workunits.pipeline.intake import (
    ADVERSARIAL_SHARE_MIN,
    BATCH_ROWS_MAX,
    PRIORITY_MAX,
    QUORUM_DEFAULT,
    QUORUM_MAX,
    UNIT_TARGET_SECONDS_MAX,
)
from workunits.selectors.keys import SCOPES
from workunits.selectors.verification import WeakerBecause

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer", "minimum": 0}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
TIME_OR_NULL: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_NUMBER_OR_NULL: Final[Schema] = {"type": ["number", "null"]}
_BY_QUORUM: Final = VerificationLevel.QUORUM
_LEVEL: Final[Schema] = {"enum": [level.value for level in VerificationLevel]}
_FINALITY: Final[Schema] = {"enum": [each.value for each in Finality]}
_QUORUM: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": QUORUM_MAX}
_ADVERSARIAL_SHARE: Final[Schema] = {"type": "number", "minimum": ADVERSARIAL_SHARE_MIN, "maximum": 1}
SHA256: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def thing(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), description: str = "") -> Schema:
    """Return an object whose members are all required but those named."""
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
    return {**schema, "description": description} if description else schema


def a_list(items: Schema) -> Schema:
    """Return an array."""
    return {"type": "array", "items": items}


def page(item: str) -> Schema:
    """Return a page of a list."""
    return thing(
        {"data": a_list(ref(item)), "has_more": {"type": "boolean"}, "next_cursor": {"type": ["string", "null"]}}
    )


_TENSOR: Final[dict[str, Schema]] = {"name": TEXT, "dtype": {"enum": list(DTYPE_BYTES)}, "shape": a_list(WHOLE)}
_PROGRESS: Final[dict[str, Schema]] = {
    "status": {
        "type": "string",
        "description": "Open: accept values not listed.",
        "examples": [s.value for s in BatchStatus],
    },
    "outcome": {"enum": [*[outcome.value for outcome in BatchOutcome], None]},
    "status_reason": TEXT,
    "counts": ref("Counts"),
    "units": thing(dict.fromkeys(("total", "open", "validated", "failed", "cancelled"), WHOLE)),
}
_UNIT: Final[dict[str, Schema]] = {
    "number": WHOLE,
    "object": {"const": "unit"},
    "row_start": WHOLE,
    "rows": WHOLE,
    "state": {"enum": [state.value for state in UnitState]},
    "decided_at": TIME_OR_NULL,
    "reason": TEXT,
    "finality": {"enum": [*[each.value for each in Finality], None], "description": "null: it has no result."},
    "final_at": TIME_OR_NULL,
    "reward_microcredits": WHOLE,
    "replicas": {
        "type": "object",
        "additionalProperties": WHOLE,
        "description": "How many replicas are in each state; re-runs are shown once the unit is final.",
    },
}
_ATTEMPT: Final[dict[str, Schema]] = {
    "state": {"enum": [state.value for state in ReplicaState]},
    "attempt": WHOLE,
    "leased_at": TIME,
    "committed_at": TIME_OR_NULL,
    "reported_at": TIME_OR_NULL,
    "ended_at": TIME_OR_NULL,
    "output_bytes": {"type": ["integer", "null"]},
    "reason": TEXT,
}

COMPONENTS: Final[dict[str, Schema]] = {
    "Me": thing(
        {
            "object": {"const": "me"},
            "project": thing({"id": TEXT, "name": TEXT}),
            "api_key": thing({"id": TEXT, "name": TEXT, "prefix": TEXT, "expires_at": TIME_OR_NULL}),
            "scopes": a_list({"enum": list(SCOPES)}),
            "environment": TEXT,
        }
    ),
    "Tensor": thing(_TENSOR, description="One row: the shape has no leading row dimension."),
    "Output": thing(
        {
            **_TENSOR,
            "comparator": {"enum": [each.value for each in Comparator]},
            "tolerance": {"type": "number", "description": "At most this; what was measured may be smaller."},
            "options": {"type": "object", "description": "What the comparator has to know besides."},
        },
        optional=("options",),
    ),
    "Model": thing(
        {
            "id": TEXT,
            "object": {"const": "model"},
            "name": TEXT,
            "sha256": SHA256,
            "bytes": WHOLE,
            "opset": WHOLE,
            "operators": a_list(TEXT),
            "inputs": a_list(ref("Tensor")),
            "outputs": a_list(ref("Output")),
            "batch_rows": WHOLE,
            "flops_per_row": WHOLE,
            "memory_bytes": WHOLE,
            "created_at": TIME,
        }
    ),
    "Dataset": thing(
        {
            "id": TEXT,
            "object": {"const": "dataset"},
            "name": TEXT,
            "format": {"enum": ["parquet", "npz"]},
            "sha256": SHA256,
            "bytes": WHOLE,
            "rows": WHOLE,
            "columns": a_list(ref("Tensor")),
            "created_at": TIME,
        }
    ),
    "BatchRequest": thing(
        {
            "model": {"type": "string", "description": "A model's id."},
            "dataset": {"type": "string", "description": "A dataset's id; it needs a column for each model input."},
            "verification": ref("VerificationRequest"),
            "quorum": {
                **_QUORUM,
                "default": QUORUM_DEFAULT,
                "description": 'The same as verification {"quorum": …}; say one of the two.',
            },
            "finality": {
                **_FINALITY,
                "default": Finality.FINAL.value,
                "description": "final: completed when every row is. provisional: completed when every row has a result;"
                " rows that turn out wrong are replaced later.",
            },
            "assumed_adversarial_share": {**_ADVERSARIAL_SHARE, "default": ADVERSARIAL_SHARE_DEFAULT},
            "priority": {"type": "integer", "minimum": -PRIORITY_MAX, "maximum": PRIORITY_MAX, "default": 0},
            "unit_target_seconds": {"type": ["number", "null"], "maximum": UNIT_TARGET_SECONDS_MAX},
            "metadata": {"type": "object", "additionalProperties": TEXT},
        },
        optional=(
            "verification",
            "quorum",
            "finality",
            "assumed_adversarial_share",
            "priority",
            "unit_target_seconds",
            "metadata",
        ),
    ),
    "VerificationRequest": {
        "description": "docs/how-to/choose-a-verification-level.md",
        "oneOf": [
            thing({"level": {"enum": [level.value for level in VerificationLevel if level is not _BY_QUORUM]}}),
            thing({"quorum": _QUORUM}),
        ],
    },
    "Verification": thing(
        {
            "level": _LEVEL,
            "audit_factor": {**_NUMBER_OR_NULL, "description": "c; null at levels without audits."},
            "audit_factor_held": {
                **_NUMBER_OR_NULL,
                "description": "Less than c where cars instead of anchors run a vehicle's first results again.",
            },
            "weaker_because": {
                "enum": [*[each.value for each in WeakerBecause], None],
                "description": "Why audit_factor_held is less than audit_factor: cars audited what an anchor should"
                " have, or no anchor is there now. null: it is not less.",
            },
            "assumed_adversarial_share": _ADVERSARIAL_SHARE,
            "expected_wrong_share": {
                **_NUMBER_OR_NULL,
                "description": "assumed_adversarial_share / audit_factor_held; `meaning` says of what.",
            },
            "meaning": TEXT,
            "audits": thing(
                dict.fromkeys(("run", "open", "passed", "failed", "inconclusive"), WHOLE),
                description="Re-runs of this batch's results. passed, failed and inconclusive sum to `run`.",
            ),
            "anchor_runs": WHOLE,
            "replication": {
                **_NUMBER_OR_NULL,
                "description": "Executions for each unit with a result, re-runs included, over its first 2,048 units"
                " (units are leased in random order).",
            },
            "rows": ref("RowFinality"),
            "parties_needed": {
                **WHOLE,
                "description": "From how many owners that are not one party a row needs outputs, its audit included.",
            },
            "parties_missing": {
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "Of how many no car may work just now: the batch waits for them. null: it needs none.",
            },
            "premium": {
                "type": "number",
                "minimum": 0,
                "description": "What the level costs beside the pay of its results, as a share of it: it pays for"
                " re-runs. Given back with what is taken back.",
            },
        }
    ),
    "Counts": thing(
        dict.fromkeys(("total", "pending", "running", "succeeded", "failed", "cancelled", "expired"), WHOLE),
        description="Rows. The six parts always sum to `total`.",
    ),
    "RowFinality": thing(
        dict.fromkeys(("provisional", "final", "revoked"), WHOLE),
        description="provisional and final sum to counts.succeeded; revoked counts how often a row was taken back so"
        " far.",
    ),
    "Progress": thing({"id": TEXT, "object": {"const": "progress"}, **_PROGRESS, "rows": ref("RowFinality")}),
    "Batch": thing(
        {
            "id": TEXT,
            "object": {"const": "batch"},
            "model": TEXT,
            "dataset": TEXT,
            **_PROGRESS,
            "quorum": WHOLE,
            "finality": _FINALITY,
            "verification": ref("Verification"),
            "result_revision": {**WHOLE, "description": "How often finished files were taken back."},
            "notices": a_list(thing({"at": TIME, "code": TEXT, "text": TEXT})),
            "priority": {"type": "integer"},
            "unit_target_seconds": {"type": "number"},
            "unit_rows": WHOLE,
            "price_per_row_microcredits": WHOLE,
            "metadata": {"type": "object"},
            "created_at": TIME,
            "started_at": TIME_OR_NULL,
            "finalizing_at": TIME_OR_NULL,
            "ended_at": TIME_OR_NULL,
            "links": {"type": "object", "additionalProperties": TEXT},
        }
    ),
    "Unit": thing(_UNIT),
    "UnitDetail": thing({**_UNIT, "history": a_list(thing(_ATTEMPT))}),
    "Problem": thing(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": TEXT,
            "status": WHOLE,
            "detail": TEXT,
            "code": TEXT,
            "retryable": {"type": "boolean"},
            "errors": a_list(
                {"type": "object", "properties": {"pointer": TEXT, "where": TEXT, "code": TEXT, "detail": TEXT}}
            ),
        },
        optional=("errors",),
        description="RFC 9457.",
    ),
    "ModelPage": page("Model"),
    "DatasetPage": page("Dataset"),
    "BatchPage": page("Batch"),
    "UnitPage": page("Unit"),
}

MODEL_OPTIONS: Final[dict[str, Schema]] = {
    "name": {"type": "string", "maxLength": 120},
    "batch_rows": {"type": "integer", "minimum": 1, "maximum": BATCH_ROWS_MAX, "default": 16},
    "fixed_dims": {
        "type": "string",
        "description": 'JSON: a value for each free dimension but the rows\': {"sequence": 16}',
    },
    "outputs": {
        "type": "string",
        "description": "JSON list of the outputs wanted: [{name, comparator?, tolerance?, options?}]",
    },
}
DATASET_OPTIONS: Final[dict[str, Schema]] = {
    "name": {"type": "string", "maxLength": 120},
    "format": {"enum": ["parquet", "npz"]},
}
