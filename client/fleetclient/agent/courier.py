"""Getting models and inputs here and large outputs there, one of each at a time, with retries and an end to them.

Journal moves here: UPLOADING -> gone (the server has the bytes, or will never take them). Units that cannot be
fetched are returned as hand-backs, which the loop writes down.
"""

from __future__ import annotations

import errno
from collections import Counter

from fleetclient.agent.background import Ended
from fleetclient.agent.parts import Parts
from fleetclient.backoff import Backoff
from fleetclient.cache import CacheFull, DigestMismatch
from fleetclient.errors import ClientError
from fleetclient.failpoints import fail_point
from fleetclient.network import ServerRefused
from fleetclient.transfers import InputDigestMismatch, fetch_input, fetch_model, upload_output
from fleetclient.units import Unit, UnitState
from fleetclient.wire import HandBack

FETCH = "fetch"
UPLOAD = "upload"
ATTEMPTS_MAX = 3
DETAIL_CHARS = 300

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# The server has ended the replica or will not take these bytes, whatever is tried.
_UPLOAD_ENDS = frozenset({400, 403, 404, 410, 413, 422})


class Courier:
    """The two lanes of file transfers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._waits = {FETCH: Backoff(), UPLOAD: Backoff()}
        self._not_before = {FETCH: 0.0, UPLOAD: 0.0}
        self._moving: dict[str, Unit] = {}
        self._attempts: Counter[str] = Counter()

    def list_ready(self) -> list[Unit]:
        """Return the held units that may run and whose files are here, in the order in which they were leased."""
        held = self._parts.journal.list_units(UnitState.HELD)
        return [unit for unit in held if self._is_here(unit) and self._parts.admission.is_admitted(unit)]

    def start(self, *, now: float, may_fetch: bool) -> None:
        """Start what is needed: fetches only while the car may work, uploads always that bytes may be sent at all."""
        if not self._parts.network.policy.may_send():
            return
        if may_fetch and self._is_free(FETCH, now):
            self._start(FETCH, self._next_to_fetch())
        if self._is_free(UPLOAD, now):
            self._start(UPLOAD, self._next_to_upload())

    def due_at(self, *, may_fetch: bool) -> float:
        """Return when a lane that waits after a failure has something to do again; infinity when none does."""
        dues = [float("inf")]
        if may_fetch and not self._parts.background.is_busy(FETCH) and self._next_to_fetch():
            dues.append(self._not_before[FETCH])
        if not self._parts.background.is_busy(UPLOAD) and self._next_to_upload():
            dues.append(self._not_before[UPLOAD])
        return min(dues)

    def settle(self, ended: Ended, *, now: float) -> HandBack | None:
        """Act on the end of a transfer; return what the car now has to give up, if anything."""
        unit = self._moving.pop(ended.kind)
        if ended.error is None:
            self._waits[ended.kind].succeeded()
            self._attempts.pop(unit.token, None)
            if ended.kind == UPLOAD:
                self._close_upload(unit)
            return None
        if not isinstance(ended.error, ClientError | OSError):
            raise ended.error
        self._parts.log.warning("transfer_failed", lane=ended.kind, token=unit.token, error=str(ended.error))
        if ended.kind == UPLOAD:
            self._upload_failed(unit, ended.error, now)
            return None
        return self._fetch_failed(unit, ended.error, now)

    def _next_to_fetch(self) -> Unit | None:
        held = self._parts.journal.list_units(UnitState.HELD)
        missing = (unit for unit in held if not self._is_here(unit) and self._parts.admission.is_admitted(unit))
        return next(missing, None)

    def _next_to_upload(self) -> Unit | None:
        return next(iter(self._parts.journal.list_units(UnitState.UPLOADING)), None)

    def _is_here(self, unit: Unit) -> bool:
        return self._parts.spool.has_input(unit.token) and self._parts.cache.has(unit.contract.model.sha256)

    def _is_free(self, lane: str, now: float) -> bool:
        return now >= self._not_before[lane] and not self._parts.background.is_busy(lane)

    def _start(self, lane: str, unit: Unit | None) -> None:
        if unit is None:
            return
        self._moving[lane] = unit
        in_use = {held.contract.model.sha256 for held in self._parts.journal.list_units(UnitState.HELD)}
        parts = self._parts

        def fetch() -> None:
            fetch_model(unit.contract.model, network=parts.network, cache=parts.cache, in_use=in_use)
            fetch_input(unit.lease, network=parts.network, spool=parts.spool)

        def upload() -> None:
            upload_output(unit, network=parts.network, spool=parts.spool)

        parts.background.start(lane, fetch if lane == FETCH else upload)

    def _close_upload(self, unit: Unit) -> None:
        fail_point("upload_finished")
        self._parts.journal.forget([unit.token])
        fail_point("upload_forgotten")
        self._parts.spool.drop(unit.token)
        self._parts.log.info("stored", token=unit.token, bytes=unit.result.output_bytes if unit.result else 0)

    def _upload_failed(self, unit: Unit, error: Exception, now: float) -> None:
        self._attempts[unit.token] += 1
        is_final = isinstance(error, ServerRefused) and error.status in _UPLOAD_ENDS
        # A digest may differ because bytes were damaged under way: that is worth some attempts from offset 0.
        is_damaged = isinstance(error, ServerRefused) and error.problem == "output_digest_mismatch"
        if (
            isinstance(error, FileNotFoundError)
            or (is_final and not is_damaged)
            or (is_damaged and self._is_tired(unit))
        ):
            self._parts.journal.forget([unit.token])
            self._parts.spool.drop(unit.token)
            self._parts.log.error("upload_given_up", token=unit.token, error=str(error))
        else:
            self._wait(UPLOAD, error, now)

    def _fetch_failed(self, unit: Unit, error: Exception, now: float) -> HandBack | None:
        if isinstance(error, CacheFull) or (isinstance(error, OSError) and error.errno in _DISK_FULL):
            return _hand_back(unit, "error", "disk_full", error)
        if isinstance(error, ServerRefused) and error.problem == "blob_not_leased":
            return _hand_back(unit, "returned", "not_wanted", error)
        if isinstance(error, DigestMismatch | OSError):
            self._attempts[unit.token] += 1
            if self._is_tired(unit):
                is_input = isinstance(error, InputDigestMismatch)
                return _hand_back(unit, "error", "input_digest_mismatch" if is_input else "model_load_failed", error)
        self._wait(FETCH, error, now)
        return None

    def _is_tired(self, unit: Unit) -> bool:
        return self._attempts[unit.token] >= ATTEMPTS_MAX

    def _wait(self, lane: str, error: Exception, now: float) -> None:
        retry_after = error.retry_after_seconds if isinstance(error, ServerRefused) else None
        self._not_before[lane] = now + self._waits[lane].failed(retry_after)


def _hand_back(unit: Unit, kind: str, reason: str, error: Exception) -> HandBack:
    return HandBack(
        token=unit.token,
        kind="error" if kind == "error" else "returned",
        reason=reason,
        detail=str(error)[:DETAIL_CHARS],
    )
