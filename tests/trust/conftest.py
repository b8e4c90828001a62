"""Keys of people and of a service, in a folder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trust.fleet_keys import Keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)
