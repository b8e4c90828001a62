"""`GET /batches/{id}/results`: the finished file, or while the batch runs the rows that are decided so far."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import ClassVar, Final

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from fleetcompute.api.ranges import serve_blob, serve_file
from fleetcompute.api.research.batches import POLL_SECONDS, BatchResource
from workunits.domain.errors import FleetError
from workunits.models import Batch
from workunits.pipeline.assemble import write_partial_result
from workunits.selectors.verification import count_finality

CONTENT_TYPES: Final = {"parquet": "application/vnd.apache.parquet", "npz": "application/octet-stream"}


class ResultsNotReady(FleetError):
    """No row of this batch has been decided yet."""

    code: ClassVar[str] = "results_not_ready"
    retryable: ClassVar[bool] = True


class ResultsUnavailable(FleetError):
    """The batch ended without a row to deliver."""

    code: ClassVar[str] = "results_unavailable"


class FormatUnknown(FleetError):
    """format must be parquet or npz."""

    code: ClassVar[str] = "invalid_request"


class ResultsView(BatchResource):
    """The rows of a batch in input order, whole or by Range."""

    scopes: ClassVar[dict[str, str]] = {"GET": "results:read"}

    def get(self, request: Request, public_id: str) -> HttpResponseBase:
        """Return the file in `format` (parquet by default).

        `Fleet-Result` says whether it is complete; `Fleet-Rows` how many of the batch's rows were final and provisional
        when it was asked for, and how often finished files were taken back. Which rows are final, the units say.
        """
        batch = self.batch_of(request, public_id)
        file_format = request.query_params.get("format", "parquet")
        if file_format not in CONTENT_TYPES:
            raise FormatUnknown(errors=[{"pointer": "/format", "detail": "must be parquet or npz"}])
        finished = batch.result_parquet if file_format == "parquet" else batch.result_npz
        file_name = f"{batch.public_id}.{file_format}"
        if finished:
            # The address may have served a partial file before, so what is cached must be asked about again.
            response = serve_blob(
                request._request,  # noqa: SLF001  (REST framework's wrapper is no HttpRequest)
                finished,
                content_type=CONTENT_TYPES[file_format],
                filename=file_name,
                cache_control="private, no-cache",
            )
            response["Fleet-Result"] = "complete"
            response["Fleet-Rows"] = _say_rows(batch)
            return response
        return self._partial(request, batch, file_format, file_name)

    def _partial(self, request: Request, batch: Batch, file_format: str, file_name: str) -> HttpResponseBase:
        """Write what is decided to a file of this request alone, and serve that."""
        if batch.progress.rows_validated == 0:
            if batch.ended_at is not None:
                raise ResultsUnavailable
            raise ResultsNotReady
        with tempfile.TemporaryDirectory(prefix="fleet-results-") as folder:
            path = Path(folder) / file_name
            rows = write_partial_result(batch_id=batch.pk, format=file_format, path=path)
            # Opened before its folder goes: the file lives on, nameless, until the last byte is sent.
            opened = path.open("rb")
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        response = serve_file(
            request._request,  # noqa: SLF001
            opened,
            sha256,
            content_type=CONTENT_TYPES[file_format],
            filename=file_name,
        )
        response["Fleet-Result"] = f"partial; rows={rows}"
        response["Fleet-Rows"] = _say_rows(batch)
        if batch.ended_at is None:
            response["Retry-After"] = str(POLL_SECONDS)
        return response


def _say_rows(batch: Batch) -> str:
    rows = count_finality(batch)
    return f"final={rows.final}; provisional={rows.provisional}; revision={batch.result_revision}"
