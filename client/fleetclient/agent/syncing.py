"""The lane of syncs: when one is due, what it says, what its answer changes, and how failures slow it down.

Journal moves here, through `exchange`: nothing -> HELD, FINISHED -> kept or UPLOADING, anything -> gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fleetclient.agent.background import Ended
from fleetclient.agent.exchange import COMMITMENTS_PER_SYNC_MAX, Changes, apply_answer, build_sync, log_changes
from fleetclient.agent.keeping import Keeping
from fleetclient.agent.pace import Pace
from fleetclient.agent.parts import Parts
from fleetclient.clock import wall_seconds
from fleetclient.errors import ClientError
from fleetclient.failpoints import fail_point
from fleetclient.files import write_loosely
from fleetclient.network import ServerRefused, Unreachable
from fleetclient.vehicle.source import VehicleState
from fleetclient.wire import Capacity, SyncAnswer, encode_sync_request
from fleetclient.wire.frame import decode_frame

SYNC = "sync"
MESSAGES_KEPT = 20


class Syncing:
    """Talks with the server, one sync at a time.

    `is_offline` says whether the last one failed, `is_unreachable` whether that was for want of an answer.
    """

    def __init__(self, parts: Parts, *, now: float) -> None:
        self._parts = parts
        self._commitments_max = COMMITMENTS_PER_SYNC_MAX
        self._keeping = Keeping(parts.journal)
        self._began_at = now
        self.pace = Pace(now=now)
        self.is_offline = False
        self.is_unreachable = False
        self.last_contact_at: float | None = None
        self.last_error: dict[str, Any] | None = None
        self.messages: list[dict[str, Any]] = []

    def is_due(self, now: float) -> bool:
        """Return True when a sync should be sent now, over a network that the owner allows."""
        parts = self._parts
        return now >= self.pace.due_at() and not parts.background.is_busy(SYNC) and parts.network.policy.may_send()

    def send(self, now: float, *, state: VehicleState, capacity: Capacity) -> None:
        """Send what there is to say; the answer comes back through `settle`."""
        parts = self._parts
        request = build_sync(
            journal=parts.journal,
            spool=parts.spool,
            agent=parts.info(),
            state=state,
            capacity=capacity,
            models=parts.cache.list_models(),
            commitments_max=self._commitments_max,
            kept=self._keeping.list_due(),
            clock_skew_seconds=parts.network.clock_skew_seconds,
        )
        self.pace.began(now)
        self._began_at = now
        frame = encode_sync_request(request)
        fail_point("sync_built")
        parts.background.start(SYNC, self._call(frame))

    def settle(self, ended: Ended, now: float) -> Changes | None:
        """Act on the end of a sync; return what its answer changed, or None when there was none."""
        if isinstance(ended.value, SyncAnswer):
            return self._accept(ended.value, now)
        error = ended.error
        if not isinstance(error, ClientError):
            raise error or TypeError("a sync ended without an answer")
        if isinstance(error, ServerRefused) and error.problem == "body_too_large":
            self._commitments_max = max(1, self._commitments_max // 2)
        retry_after = error.retry_after_seconds if isinstance(error, ServerRefused) else None
        wait = self.pace.failed(now, retry_after)
        self.is_offline = True
        self.is_unreachable = isinstance(error, Unreachable)
        self.last_error = {"at": wall_seconds(), "code": error.code, "text": str(error)}
        self._parts.log.warning("sync_failed", error=str(error), code=error.code, retry_seconds=round(wait, 2))
        return None

    def _call(self, frame: bytes) -> Callable[[], SyncAnswer]:
        parts = self._parts

        def call() -> SyncAnswer:
            # What the owner can look at: the message as it goes out, but for the outputs that travel behind it.
            document, attachments = decode_frame(frame)
            shown = {"at": wall_seconds(), "attachment_bytes": len(attachments), "message": document}
            write_loosely(parts.state.last_sync, json.dumps(shown).encode())
            return parts.network.sync(frame)

        return call

    def _accept(self, answer: SyncAnswer, now: float) -> Changes:
        # The lease began on the server before the answer came; counting from the request is never too late.
        unix = wall_seconds()
        changes = apply_answer(answer, journal=self._parts.journal, now=self._began_at, now_unix=unix)
        self._keeping.note_offered(changes.kept)
        changes.surplus = self._keeping.list_surplus(unix)
        self._parts.workshop.cancel(changes.cancelled)
        for token in (*changes.stored, *changes.refused, *changes.cancelled):
            self._parts.spool.drop(token)
        self.pace.answered(now, answer.next_sync_seconds)
        self.is_offline = self.is_unreachable = False
        self.last_error, self.last_contact_at = None, wall_seconds()
        log_changes(changes, self._parts.log)
        for message in answer.messages:
            self._parts.log.info("message", code=message.code, text=message.text)
            shown = {"at": wall_seconds(), "level": message.level, "code": message.code, "text": message.text}
            if not any(known["code"] == message.code and known["text"] == message.text for known in self.messages):
                self.messages = [*self.messages, shown][-MESSAGES_KEPT:]
        return changes
