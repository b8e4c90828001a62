"""Batches as the researcher sees them: what was ordered, how far it is, how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bench.demo.data import Workload
from bench.demo.research import Researcher
from bench.demo.settings import BLOCK_ROWS, QUORUM

ENDED: Final = ("completed", "failed", "cancelled", "expired")


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """A workload whose model and dataset the server has taken, and the model's outputs as it described them."""

    workload: Workload
    model_id: str
    dataset_id: str
    outputs: list[dict[str, Any]]


@dataclass(kw_only=True)
class Order:
    """A batch; `progress` is the server's last answer about it."""

    uploaded: Uploaded
    batch_id: str
    progress: dict[str, Any]

    @property
    def workload(self) -> Workload:
        """What is run."""
        return self.uploaded.workload

    @property
    def rows_done(self) -> int:
        """Rows that are decided."""
        counts = self.progress["counts"]
        return int(counts["total"] - counts["pending"] - counts["running"])

    @property
    def has_ended(self) -> bool:
        """Whether the batch has come to its end."""
        return self.progress["status"] in ENDED

    @property
    def seconds(self) -> float:
        """From the order to the end, by the server's clock; `progress` must be the whole batch."""
        began, ended = (datetime.fromisoformat(self.progress[name]) for name in ("created_at", "ended_at"))
        return (ended - began).total_seconds()


def upload(researcher: Researcher, workload: Workload) -> Uploaded:
    """Send a workload's model and dataset."""
    model = researcher.upload_model(workload.model_path, name=workload.model_name, batch_rows=BLOCK_ROWS)
    dataset = researcher.upload_dataset(workload.dataset_path, name=workload.dataset_name, file_format=workload.format)
    return Uploaded(workload=workload, model_id=model["id"], dataset_id=dataset["id"], outputs=model["outputs"])


def place_order(researcher: Researcher, uploaded: Uploaded) -> Order:
    """Order the batch."""
    batch = researcher.order_batch(model_id=uploaded.model_id, dataset_id=uploaded.dataset_id, quorum=QUORUM)
    return Order(uploaded=uploaded, batch_id=batch["id"], progress=batch)


def share_done(orders: list[Order]) -> float:
    """Return how much of the computing is done, 0 to 1: that of the largest model, beside which others do not count."""
    heaviest = max(orders, key=lambda order: order.workload.model_path.stat().st_size)
    return heaviest.rows_done / heaviest.workload.rows
