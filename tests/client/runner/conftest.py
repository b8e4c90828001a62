"""Runners that are ended with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.runner.support import Bench, Make
from tests.client.support import linear_model


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def make(model: bytes | None = None, *, limits: dict[str, int] | None = None, **settings: object) -> Bench:
        made.append(Bench(tmp_path, model or linear_model(), settings, limits or {}))
        return made[-1]

    yield make
    for each in made:
        each.runner.kill()
