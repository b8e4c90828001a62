"""One worker at a time for a stage that takes long; the sweep would start it again and again otherwise."""

from __future__ import annotations

from workunits.store.db import fetch_one


def claim_stage(*, stage: str, batch_id: int) -> bool:
    """Take a stage of a batch for the length of the caller's transaction; False where another worker has it."""
    row = fetch_one("claim_batch_stage", {"stage": stage, "batch_id": batch_id})
    return bool(row and row[0])
