"""A paired car for each test, and a dispatch board that is read afresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.vehicle_api.signed_car import SignedCar


@pytest.fixture(autouse=True)
def board_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from workunits.pipeline import dispatch
    from workunits.store.board import DispatchBoard

    monkeypatch.setattr(dispatch, "_board", lambda: DispatchBoard(0))


@pytest.fixture
def car(db: None) -> SignedCar:
    from tests.engine.factories import make_owner
    from tests.vehicle_api.signed_car import SignedCar

    return SignedCar(make_owner())
