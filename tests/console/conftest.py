"""Rows below a batch, and somebody to look at them."""

from __future__ import annotations

from tests.engine.conftest import board_without_memory  # noqa: F401  (each test sees its own batches only)
