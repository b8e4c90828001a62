"""A private home for each test, away from the suite's own services."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.helpers import REPLACED


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that the services' user can reach, without the addresses of the suite's own services around it."""
    for name in REPLACED:
        monkeypatch.delenv(name, raising=False)
    folder = Path(tempfile.mkdtemp(prefix="fleetcompute-embedded-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
