"""Collects what the checks look at: result files over the API, and a direct run of the same rows."""

from __future__ import annotations

from pathlib import Path

from bench.demo.checks import Compared
from bench.demo.orders import Order
from bench.demo.outputs import read_result, run_directly
from bench.demo.research import Researcher


class BatchFailed(RuntimeError):
    """A batch ended without a complete result."""


def collect(researcher: Researcher, orders: list[Order], *, folder: Path) -> list[Compared]:
    """Download each result into `folder` and run the same rows directly. Raises BatchFailed."""
    compared = []
    for order in orders:
        workload, status = order.workload, order.progress["status"]
        if status != "completed":
            raise BatchFailed(f"The batch {workload.title!r} is {status}: {order.progress['status_reason']}")
        path = folder / f"{workload.key}.{workload.format}"
        researcher.download_result(order.batch_id, path, file_format=workload.format)
        compared.append(
            Compared(
                key=workload.key,
                result=read_result(path),
                direct=run_directly(workload.model_path, workload.inputs),
                tolerances={output["name"]: output["tolerance"] for output in order.uploaded.outputs},
            )
        )
    return compared
