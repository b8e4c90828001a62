"""`/batches`: order a model over a dataset, watch it, pause, resume and cancel it, look into its units."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Final

import orjson
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response

from fleetcompute.api.idempotency import Answer, answer_once, read_key
from fleetcompute.api.pagination import newest_first, page_of, read_after_number, read_limit
from fleetcompute.api.research.present import present_batch, present_batches, present_progress, present_unit
from fleetcompute.api.research.serializers import BatchRequest
from fleetcompute.api.research.views import ResearchView
from workunits import tasks
from workunits.domain.audits.levels import Finality
from workunits.domain.errors import FleetError
from workunits.domain.states import BatchStatus
from workunits.models import Batch
from workunits.pipeline import intake
from workunits.selectors import batches as selectors

POLL_SECONDS: Final = 2


class UnitUnknown(FleetError):
    """The batch has no such work unit."""

    code: ClassVar[str] = "unit_unknown"


class StatusUnknown(FleetError):
    """There is no such status of a batch."""

    code: ClassVar[str] = "invalid_request"


class BatchResource(ResearchView):
    """A view below one batch."""

    def batch_of(self, request: Request, public_id: str) -> Batch:
        """Return the batch. Raises BatchUnknown."""
        batch = selectors.list_batches(self.project_id_of(request)).filter(public_id=public_id).first()
        if batch is None:
            raise intake.BatchUnknown(f"There is no batch {public_id!r} in this project.")
        return batch


class BatchesView(ResearchView):
    """`POST /batches` orders a batch; `GET /batches` lists them."""

    scopes: ClassVar[dict[str, str]] = {"GET": "batches:read", "POST": "batches:write"}

    def get(self, request: Request) -> Response:
        """Return a page of batches, newest first; `status` keeps those in one state."""
        rows = selectors.list_batches(self.project_id_of(request))
        status = request.query_params.get("status")
        if status is not None and status not in [known.value for known in BatchStatus]:
            detail = f"must be one of {', '.join(BatchStatus)}"
            raise StatusUnknown(errors=[{"pointer": "/status", "detail": detail}])
        if status is not None:
            rows = rows.filter(status=status)
        return Response(newest_first(request, rows, present_batches))

    def post(self, request: Request) -> Response:
        """Queue a batch. Under an Idempotency-Key the same order again returns the same batch."""
        order = BatchRequest(data=request.data)
        order.is_valid(raise_exception=True)
        project_id, now = self.project_id_of(request), timezone.now()

        def create() -> Answer:
            given = order.validated_data
            batch = intake.submit_batch(
                project_id=project_id,
                model_public_id=given["model"],
                dataset_public_id=given["dataset"],
                level=given["level"],
                quorum=given["quorum"],
                finality=Finality(given["finality"]),
                adversarial_share=given["assumed_adversarial_share"],
                priority=given["priority"],
                unit_target_seconds=given["unit_target_seconds"],
                metadata=given["metadata"],
                now=now,
            )
            # Robust: the batch is there; when the broker is away, the sweep finds it.
            tasks.send_nudge(tasks.split_batch, batch_id=batch.pk)
            return Answer(202, present_batch(batch))

        answer = answer_once(
            project_id=project_id, key=read_key(request), request_body=request.data, now=now, create=create
        )
        headers = {"Location": f"/api/v1/batches/{answer.body['id']}", "Retry-After": str(POLL_SECONDS)}
        if answer.is_replay:
            headers["Idempotent-Replayed"] = "true"
        return Response(answer.body, status=answer.status, headers=headers)


class BatchView(BatchResource):
    """`GET /batches/{id}`."""

    scopes: ClassVar[dict[str, str]] = {"GET": "batches:read"}

    def get(self, request: Request, public_id: str) -> HttpResponseBase:
        """Return the batch; 304 when nothing has changed since the ETag that the caller shows."""
        batch = self.batch_of(request, public_id)
        return _polled(request, batch, present_batch(batch))

    def http_method_not_allowed(self, request: HttpRequest, *_args: Any, **_kwargs: Any) -> Response:
        """Refuse to change a batch, and say what can be done instead."""
        raise MethodNotAllowed(
            request.method or "",
            "A batch stays as it was ordered, its verification and finality too. Order another with POST /batches;"
            " POST /batches/{id}/cancel ends this one and keeps the rows that are done.",
        )


class BatchProgressView(BatchResource):
    """`GET /batches/{id}/progress`: the cheap poll."""

    scopes: ClassVar[dict[str, str]] = {"GET": "batches:read"}

    def get(self, request: Request, public_id: str) -> HttpResponseBase:
        """Return status and live counts."""
        batch = self.batch_of(request, public_id)
        return _polled(request, batch, present_progress(batch))


class BatchPauseView(BatchResource):
    """`POST /batches/{id}/pause`."""

    scopes: ClassVar[dict[str, str]] = {"POST": "batches:write"}

    def post(self, request: Request, public_id: str) -> Response:
        """Stop leasing; what is leased goes on."""
        intake.pause_batch(project_id=self.project_id_of(request), batch_public_id=public_id)
        return Response(present_batch(self.batch_of(request, public_id)))


class BatchResumeView(BatchResource):
    """`POST /batches/{id}/resume`."""

    scopes: ClassVar[dict[str, str]] = {"POST": "batches:write"}

    def post(self, request: Request, public_id: str) -> Response:
        """Lease again."""
        intake.resume_batch(project_id=self.project_id_of(request), batch_public_id=public_id)
        return Response(present_batch(self.batch_of(request, public_id)))


class BatchCancelView(BatchResource):
    """`POST /batches/{id}/cancel`."""

    scopes: ClassVar[dict[str, str]] = {"POST": "batches:write"}

    def post(self, request: Request, public_id: str) -> Response:
        """End the batch; rows that are done stay."""
        with transaction.atomic():
            intake.cancel_batch(project_id=self.project_id_of(request), batch_public_id=public_id)
            tasks.send_nudge(tasks.sweep)
        return Response(present_batch(self.batch_of(request, public_id)))


class UnitsView(BatchResource):
    """`GET /batches/{id}/units`."""

    scopes: ClassVar[dict[str, str]] = {"GET": "batches:read"}

    def get(self, request: Request, public_id: str) -> Response:
        """Return a page of units in input order; the cursor is the last unit's number."""
        batch, limit = self.batch_of(request, public_id), read_limit(request)
        units = selectors.list_units(batch.pk).filter(number__gt=read_after_number(request))
        found = list(units[: limit + 1])
        page = found[:limit]
        replicas = selectors.count_replicas(batch.pk, page)
        data = [present_unit(unit, replicas[unit.number]) for unit in page]
        cursor = str(page[-1].number) if page else None
        return Response(page_of(data, has_more=len(found) > limit, cursor=cursor))


class UnitView(BatchResource):
    """`GET /batches/{id}/units/{number}`."""

    scopes: ClassVar[dict[str, str]] = {"GET": "batches:read"}

    def get(self, request: Request, public_id: str, number: int) -> Response:
        """Return one unit with the history of its replicas, and no car's identity."""
        batch = self.batch_of(request, public_id)
        unit = selectors.list_units(batch.pk).filter(number=min(number, 2**31 - 1)).first()
        if unit is None:
            raise UnitUnknown
        counts = selectors.count_replicas(batch.pk, [unit])[unit.number]
        history = selectors.list_replicas(batch.pk, unit)
        return Response({**present_unit(unit, counts), "history": history})


def _polled(request: Request, batch: Batch, body: dict[str, Any]) -> HttpResponseBase:
    """Answer a poll: an ETag over the answer itself, and while the batch runs the gap advised before the next poll."""
    etag = f'"{hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]}"'
    headers = {"ETag": etag}
    if batch.ended_at is None:
        headers["Retry-After"] = str(POLL_SECONDS)
    if etag in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=304, headers=headers)
    return Response(body, headers=headers)
