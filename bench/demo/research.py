"""The researcher: uploads models and datasets, orders batches, watches them and fetches results over the public API."""

from __future__ import annotations

import base64
import hashlib
import uuid
from pathlib import Path
from typing import Any, Final

import requests

UPLOAD_SECONDS: Final = 180.0
TIMEOUT_SECONDS: Final = 60.0


class ResearchError(RuntimeError):
    """The API refused something that it should have taken."""


class Researcher:
    """A client of `/api/v1/` with one API key."""

    def __init__(self, origin: str, api_key: str) -> None:
        self.base = f"{origin}/api/v1"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {api_key}"

    def upload_model(self, path: Path, *, name: str, batch_rows: int) -> dict[str, Any]:
        """Send a model and return it as the server admitted it."""
        return self._upload("/models", path, {"name": name, "batch_rows": str(batch_rows)})

    def upload_dataset(self, path: Path, *, name: str, file_format: str) -> dict[str, Any]:
        """Send a dataset and return it as the server read it."""
        return self._upload("/datasets", path, {"name": name, "format": file_format})

    def order_batch(self, *, model_id: str, dataset_id: str, quorum: int) -> dict[str, Any]:
        """Order a batch and return it."""
        order = {"model": model_id, "dataset": dataset_id, "quorum": quorum}
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer = self.session.post(f"{self.base}/batches", json=order, headers=headers, timeout=TIMEOUT_SECONDS)
        return self._read(answer)

    def get_batch(self, batch_id: str) -> dict[str, Any]:
        """Return the whole batch."""
        return self._read(self.session.get(f"{self.base}/batches/{batch_id}", timeout=TIMEOUT_SECONDS))

    def get_progress(self, batch_id: str) -> dict[str, Any]:
        """Return the batch's status and counts."""
        return self._read(self.session.get(f"{self.base}/batches/{batch_id}/progress", timeout=TIMEOUT_SECONDS))

    def download_result(self, batch_id: str, path: Path, *, file_format: str) -> Path:
        """Write the result file to `path` and return it."""
        answer = self.session.get(
            f"{self.base}/batches/{batch_id}/results", params={"format": file_format}, timeout=TIMEOUT_SECONDS
        )
        self._refuse_errors(answer)
        if answer.headers.get("Fleet-Result") != "complete":
            raise ResearchError(f"The result of {batch_id} is not complete: {answer.headers.get('Fleet-Result')}.")
        path.write_bytes(answer.content)
        return path

    def _upload(self, address: str, path: Path, options: dict[str, str]) -> dict[str, Any]:
        with path.open("rb") as file:
            digest = base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()
            file.seek(0)
            headers = {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}
            answer = self.session.post(
                self.base + address, params=options, data=file, headers=headers, timeout=UPLOAD_SECONDS
            )
        return self._read(answer)

    def _read(self, answer: requests.Response) -> dict[str, Any]:
        self._refuse_errors(answer)
        content: dict[str, Any] = answer.json()
        return content

    def _refuse_errors(self, answer: requests.Response) -> None:
        if not answer.ok:
            what = f"{answer.request.method} {answer.request.path_url} was answered with {answer.status_code}"
            raise ResearchError(f"{what}: {answer.text[:500]}")
