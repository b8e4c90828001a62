"""Audits that were lost, left undecided, or needed more than digests: lists for operators, and one with what differs.

A detail reads a bounded part of each output: of a large one only the first rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import Count, Q, QuerySet

from workunits.domain.audits.sequence import AuditState
from workunits.domain.comparison import OutputSpec
from workunits.domain.differences import TensorDifference, describe_differences, read_rows
from workunits.domain.replicas import ANCHOR_OWNER_ID, ReplicaRole
from workunits.domain.tensors import HEADER_BYTES_MAX, LENGTH_BYTES, Tensor
from workunits.models import AnchorRun, Audit, Revocation, TrustEvent, Vehicle
from workunits.store.batches import SpecsBook, get_comparison_specs
from workunits.store.blobs import BlobMissing, get_blob_store
from workunits.store.db import fetch_all

DISAGREEMENTS_SHOWN: Final = 50
OUTPUT_BYTES_READ: Final = 2 * 1024 * 1024
SIDES_MAX: Final = 4
RESULT, RERUN, ANCHOR = "result", "re-run", "anchor"
# As the index audit_disagreement has it, so that the planner can tell.
_UNLIKE: Final = (AuditState.FAILED.value, AuditState.INCONCLUSIVE.value)
# With `state` this: all that needed the tensors or an anchor as well, most of which agree. Read from the newest on.
COMPARED: Final = "compared"
_COMPARED: Final = (Audit.Stage.TENSORS.value, Audit.Stage.ANCHOR.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class DisagreementFilter:
    """What to list: audits that were lost or left undecided, or those of one `state`; empty values filter nothing.

    `comparison_class` is that of either side.
    """

    state: str = ""
    stage: str = ""
    level: int | None = None
    batch: str = ""
    model: str = ""
    vehicle: str = ""
    comparison_class: str = ""
    since: datetime | None = None


class Listed(NamedTuple):
    """An audit with the car that ran the unit again; None where an anchor did, or nobody yet."""

    audit: Audit
    auditor: Vehicle | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One output. `problem` says why its bytes are not here; `has_all` is False where only the first rows were read.

    `vehicle` is whose it is; None for an anchor's.
    """

    name: str
    owner_id: int
    vehicle: Vehicle | None
    state: str
    comparison_class: str
    seconds: float | None
    tensors: dict[str, Tensor] | None
    has_all: bool = True
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """An audit with the outputs that it was about. `differences` is empty where fewer than two outputs are here.

    `reset` is the loss of trust that it was a cause of, if it was; `revoked` counts the results that it took back, and
    `revoked_left` those of them that are still to be taken from their batches.
    """

    audit: Audit
    reset: TrustEvent | None
    revoked: int
    revoked_left: int
    sides: list[Side]
    differences: list[TensorDifference]
    runs: list[AnchorRun]


def list_disagreements(wanted: DisagreementFilter, *, before: int | None = None) -> tuple[list[Listed], bool]:
    """Return the newest disagreements, those older than the audit `before`, and whether there are more."""
    rows = _filtered(wanted).select_related("batch", "batch__model", "vehicle").order_by("-id")
    if before is not None:
        rows = rows.filter(id__lt=before)
    found = list(rows[: DISAGREEMENTS_SHOWN + 1])
    page = found[:DISAGREEMENTS_SHOWN]
    cars = Vehicle.objects.in_bulk({audit.auditor_vehicle_id for audit in page if audit.auditor_vehicle_id})
    listed = [Listed(audit, cars.get(audit.auditor_vehicle_id or 0)) for audit in page]
    return listed, len(found) > DISAGREEMENTS_SHOWN


def _filtered(wanted: DisagreementFilter) -> QuerySet[Audit]:
    named = {
        "stage": wanted.stage,
        "level": wanted.level,
        "batch__public_id": wanted.batch,
        "batch__model__public_id": wanted.model,
        "vehicle__public_id": wanted.vehicle,
        "created_at__gte": wanted.since,
    }
    rows = _of_state(wanted.state).filter(**{name: value for name, value in named.items() if value not in ("", None)})
    if wanted.comparison_class:
        either = Q(primary_class=wanted.comparison_class) | Q(auditor_class=wanted.comparison_class)
        rows = rows.filter(either)
    return rows


def _of_state(state: str) -> QuerySet[Audit]:
    if state == COMPARED:
        return Audit.objects.filter(Q(state__in=_UNLIKE) | Q(stage__in=_COMPARED))
    return Audit.objects.filter(state__in=_UNLIKE if state == "" else [state])


def get_disagreement(audit_id: int) -> Disagreement | None:
    """Return an audit with what differs between its outputs; None where there is no such audit."""
    audit = Audit.objects.select_related("batch", "batch__model", "vehicle").filter(id=audit_id).first()
    if audit is None:
        return None
    specs, book = get_comparison_specs(audit.batch_id), SpecsBook(audit.batch_id)
    sides = _read_sides(audit, specs)
    class_of = {side.name: side.comparison_class for side in sides}

    def specs_between(first: str, second: str) -> tuple[OutputSpec, ...]:
        return book.between((class_of[first], class_of[second]))

    here = {side.name: side.tensors for side in sides if side.tensors is not None}
    rows = min((len(tensors[specs[0].name]) for tensors in here.values()), default=0)
    compared = {name: {key: tensor[:rows] for key, tensor in tensors.items()} for name, tensors in here.items()}
    runs = AnchorRun.objects.filter(batch_id=audit.batch_id, unit_number=audit.unit_number).order_by("-id")
    revoked, left = _count_revoked(audit.pk)
    return Disagreement(
        audit=audit,
        reset=_find_reset(audit),
        revoked=revoked,
        revoked_left=left,
        sides=sides,
        differences=describe_differences(compared, specs_between) if len(compared) > 1 and rows else [],
        runs=list(runs[:DISAGREEMENTS_SHOWN]),
    )


def _find_reset(audit: Audit) -> TrustEvent | None:
    """Return the reset that the audit was the cause of: one reset may be for several lost audits, by the first."""
    if audit.settled_at is None:
        return None
    resets = TrustEvent.objects.filter(vehicle_id=audit.vehicle_id, at=audit.settled_at, kind=TrustEvent.Kind.RESET)
    return resets.order_by("-id").first()


def _count_revoked(audit_id: int) -> tuple[int, int]:
    found = Revocation.objects.filter(audit_id=audit_id).aggregate(
        all=Count("id"), left=Count("id", filter=Q(done_at__isnull=True))
    )
    return found["all"], found["left"]


def _read_sides(audit: Audit, specs: Sequence[OutputSpec]) -> list[Side]:
    """Return the outputs of the unit: the judged one first, an anchor's last."""
    parameters = {
        "batch_id": audit.batch_id, "unit_number": audit.unit_number, "judged": audit.owner_id, "sides_max": SIDES_MAX,
    }  # fmt: skip
    sides: list[Side] = []
    rows = fetch_all("read_disputed_outputs", parameters)
    cars = Vehicle.objects.in_bulk([vehicle_id for _, vehicle_id, *_ in rows])
    for owner_id, vehicle_id, role, *columns in rows:
        name = ANCHOR if owner_id == ANCHOR_OWNER_ID else RESULT if role == ReplicaRole.PRIMARY else RERUN
        same = sum(side.name.startswith(name) for side in sides)
        numbered = f"{name} {same + 1}" if same else name
        sides.append(_read_side(numbered, owner_id, cars.get(vehicle_id), specs, *columns))
    return sorted(sides, key=lambda side: side.owner_id == ANCHOR_OWNER_ID)


def _read_side(
    name: str,
    owner_id: int,
    vehicle: Vehicle | None,
    specs: Sequence[OutputSpec],
    state: str,
    comparison_class: str,
    seconds: float | None,
    output: Any,
    blob: str | None,
) -> Side:
    tensors: dict[str, Tensor] | None = None
    has_all, problem = True, ""
    try:
        if output is not None:
            tensors, has_all = _read_document(specs, lambda start, end: bytes(output[start:end]))
        elif blob:
            store = get_blob_store()
            tensors, has_all = _read_document(specs, lambda start, end: store.read(blob, start, end))
        else:
            problem = "its bytes were never asked for: digest or sketch was enough"
    except BlobMissing as missing:
        problem = missing.detail
    return Side(
        name=name,
        owner_id=owner_id,
        vehicle=vehicle,
        state=state,
        comparison_class=comparison_class,
        seconds=seconds,
        tensors=tensors,
        has_all=has_all,
        problem=problem,
    )


def _read_document(specs: Sequence[OutputSpec], read: Any) -> tuple[dict[str, Tensor], bool]:
    """Return the first rows of a document that was checked when it came, and whether they are all.

    At least one row is read; a unit's output is bounded, so that is too.
    """
    start = read(0, LENGTH_BYTES + HEADER_BYTES_MAX)
    base = LENGTH_BYTES + int.from_bytes(start[:LENGTH_BYTES], "little")
    header = json.loads(start[LENGTH_BYTES:base])
    rows = int(header[specs[0].name]["shape"][0])
    wanted = min(rows, max(1, OUTPUT_BYTES_READ // sum(spec.bytes_per_row for spec in specs)))
    parts = {}
    for spec in specs:
        place = base + int(header[spec.name]["data_offsets"][0])
        parts[spec.name] = read(place, place + wanted * spec.bytes_per_row)
    return read_rows(parts, specs), wanted == rows
