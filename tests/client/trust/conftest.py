"""A fleet with its repository, and gates of cars that look at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.trust.scene import CarGate, Fleet


@pytest.fixture
def trusted_fleet(tmp_path: Path) -> Iterator[Fleet]:
    (tmp_path / "fleet").mkdir()
    fleet = Fleet(tmp_path / "fleet")
    yield fleet
    fleet.close()


@pytest.fixture
def gate(tmp_path: Path, trusted_fleet: Fleet) -> CarGate:
    return CarGate(tmp_path, trusted_fleet)
