"""Giving units up: into the journal first, then their files go, then the server hears of it with the next sync.

Journal moves here: HELD, or FINISHED and kept, -> RETURNING.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetclient.agent.parts import Parts
from fleetclient.failpoints import fail_point
from fleetclient.units import Unit
from fleetclient.wire import HandBack


class Returns:
    """Writes hand-backs. Used by the agent's thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def give_back(self, units: Sequence[Unit], reason: str) -> None:
        """Give units up without blame, and make sure that none of them is worked on."""
        self._parts.workshop.discard([unit.token for unit in units])
        self.write([HandBack(token=unit.token, kind="returned", reason=reason) for unit in units])

    def give_up_kept(self, surplus: Sequence[tuple[Unit, str]]) -> None:
        """Give up results whose bytes the server has not asked for, each for a reason in words."""
        self.write(
            [HandBack(token=unit.token, kind="returned", reason="not_wanted", detail=why) for unit, why in surplus]
        )

    def write(self, items: Sequence[HandBack]) -> None:
        """Write hand-backs; units that are neither held nor kept any more stay as they are."""
        if not items:
            return
        moved = self._parts.journal.hand_back(items)
        fail_point("return_journaled")
        for item in moved:
            self._parts.spool.drop(item.token)
            self._parts.log.info(
                "handed_back", token=item.token, kind=item.kind, reason=item.reason, detail=item.detail
            )
        fail_point("return_dropped")
