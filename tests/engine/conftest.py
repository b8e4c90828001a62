"""Engine tests read the dispatch board afresh on every sync."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def board_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Django is not set up yet when this file is imported.
    from workunits.pipeline import dispatch
    from workunits.store.board import DispatchBoard

    monkeypatch.setattr(dispatch, "_board", lambda: DispatchBoard(0))
