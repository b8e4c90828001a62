"""The gate in the agent: keeps what the repository last said, says whether a model may run, and when to look again.

`judge`, `is_admitted`, `stop_reason` and the properties only read memory and may be called from the loop at any time.
`refresh_if_due` starts a child process and waits for it: call it on a background thread. While nothing may be sent, or
the day's bytes are spent, no look is due and no child is started; that is no failure. Nothing of python-tuf is imported
here. A look that fails changes nothing: what was known lives on until its own expiry.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path

from fleetclient.backoff import Backoff
from fleetclient.clock import boot_seconds
from fleetclient.files import write_durably
from fleetclient.logs import Log
from fleetclient.netpolicy.budget import BudgetExhausted, ByteBudget
from fleetclient.netpolicy.policy import NetworkPolicy
from fleetclient.trust.clock import TrustClock
from fleetclient.trust.look import Look, LookFailed, LookRequest, look
from fleetclient.trust.options import TrustOptions
from fleetclient.trust.verdict import Channel, ModelVerdict, SignedConfig, Verdict, VerdictUnreadable

# A model that is not listed is looked up again after so long, if the server still leases it.
REFUSED_SECONDS = 60.0
# Looks that new models cause are at least so far apart.
LOOK_GAP_SECONDS = 2.0
MODELS_MAX = 256
BACKOFF_BASE_SECONDS = 2.0


class Admission(StrEnum):
    """What the gate says of a model now."""

    ADMITTED = "admitted"  # the repository lists this hash with this size, and nothing has expired
    REFUSED = "refused"  # it does not: hand the unit back with the reason `not_admitted`
    PENDING = "pending"  # not looked up yet, or no longer fresh: `want` it and let `refresh_if_due` run


class TrustGate:
    """What one car believes of its fleet. One for each state folder; thread-safe."""

    def __init__(
        self,
        *,
        options: TrustOptions,
        origin: str,
        folder: Path,
        log: Log,
        policy: NetworkPolicy | None = None,
        clock: TrustClock | None = None,
        look: Callable[[LookRequest], Look] = look,
    ) -> None:
        """Read what an earlier agent kept in `folder` (`state_dir/trust`).

        `policy` is what the agent's own requests obey: it says whether a look may be made, goes along to the child,
        and its meter is told what each look has cost. Relative paths in the options begin in its folder.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._options = options
        self._origin = origin
        self._folder = folder
        self._path = folder / "verdict.json"
        self._policy = policy or NetworkPolicy()
        self._budget = ByteBudget(self._policy)
        self._root_file = str(self._policy.folder / options.root_file) if options.root_file else ""
        self._log = log
        self._clock = clock or TrustClock()
        self._look = look
        self._lock = threading.Lock()
        self._wanted: dict[str, int] = {}
        self._backoff = Backoff(base_seconds=BACKOFF_BASE_SECONDS, cap_seconds=options.refresh_seconds)
        self._looked_at = float("-inf")
        self._next_at = float("-inf")
        self.last_error = ""
        self._verdict = self._read_verdict()
        self._clock.note_passed(self._verdict.checked_at)

    @property
    def is_off(self) -> bool:
        """Whether this is a simulation that believes its server."""
        return self._options.mode == "off"

    @property
    def verdict(self) -> Verdict:
        """What the last good look found; empty and expired before the first one."""
        return self._verdict

    @property
    def root_fingerprint(self) -> str:
        """SHA-256 of the first root metadata, to compare with the operator's; empty before the first look."""
        return self._verdict.root_sha256

    @property
    def signed_config(self) -> SignedConfig:
        """The configuration that the fleet's offline keys signed; nothing is set before the first look."""
        return self._verdict.config

    @property
    def channels(self) -> dict[str, Channel]:
        """The client releases on offer, by channel."""
        return self._verdict.channels

    def stop_reason(self) -> str:
        """Return why no model at all may run now, as a sentence; empty while the fleet works."""
        if self.is_off:
            return ""
        verdict = self._verdict
        if verdict.checked_at == 0.0:
            return self._explain("the fleet's signed metadata has not been read yet")
        if self._clock.now() >= verdict.valid_until:
            return self._explain("the fleet's signed metadata has expired: the fleet is stopped, or out of reach")
        if verdict.config.origins and self._origin not in verdict.config.origins:
            return f"the fleet's signed configuration does not name this server ({self._origin})"
        return ""

    def judge(self, sha256: str, size_bytes: int) -> Admission:
        """Return whether a model of this hash and size may run now. It may only if the answer is ADMITTED."""
        if self.is_off:
            return Admission.ADMITTED
        model = self._verdict.models.get(sha256)
        if model is None or self._is_stale(model):
            return Admission.PENDING
        if not model.is_listed or model.size_bytes != size_bytes:
            return Admission.REFUSED
        return Admission.PENDING if self.stop_reason() else Admission.ADMITTED

    def is_admitted(self, sha256: str, size_bytes: int) -> bool:
        """Return whether a model may run now."""
        return self.judge(sha256, size_bytes) is Admission.ADMITTED

    def want(self, models: Iterable[tuple[str, int]]) -> None:
        """Say which models (hash, bytes) this car has work for; those not known make a look due at once."""
        with self._lock:
            self._wanted = dict(models)

    def may_look(self) -> bool:
        """Return whether a look may cost bytes now: this network is allowed, and the day's bytes are not spent."""
        if not self._policy.may_send():
            return False
        try:
            self._budget.check(is_file=False, sending=1)
        except BudgetExhausted:
            return False
        return True

    def is_due(self, now: float) -> bool:
        """Return whether `refresh_if_due` would look, `now` being `boot_seconds()`."""
        return not self.is_off and now >= self._due_at() and self.may_look()

    def seconds_until_due(self, now: float) -> float:
        """Return how long the loop may wait before it should ask for a refresh; infinity while none may be made."""
        seconds = float("inf") if self.is_off else max(0.0, self._due_at() - now)
        return seconds if seconds > 0.0 or self.may_look() else float("inf")

    def refresh_if_due(self, now: float) -> bool:
        """Look at the repository if it is time; return whether the last look went well. Takes seconds."""
        return self.refresh() if self.is_due(now) else not self.last_error

    def refresh(self) -> bool:
        """Look at the repository now and remember what it says; return whether that went well. Takes seconds.

        While no look may be made it returns False and leaves everything as it is.
        """
        if self.is_off:
            return True
        if not self.may_look():
            return False
        try:
            found = self._look_counted(self._request())
        except LookFailed as failure:
            self._fail(failure)
            return False
        self._accept(found.verdict)
        return True

    def download(self, target: str) -> Path:
        """Fetch a release that the offline keys signed, checked against its signed hash and length; return its path.

        `target` is as a channel names it. Raises LookFailed. Takes as long as the transfer; not for the loop.
        """
        if not self.may_look():
            raise LookFailed("not_now", "not on an allowed network, or today's bytes are spent")
        found = self._look_counted(replace(self._request(), download=target))
        self._accept(found.verdict)
        return Path(found.downloaded)

    def _look_counted(self, request: LookRequest) -> Look:
        try:
            found = self._look(request)
        except LookFailed as failure:
            self._policy.meter.add_bytes(failure.bytes_sent, failure.bytes_received)
            raise
        self._policy.meter.add_bytes(found.bytes_sent, found.bytes_received)
        return found

    def _request(self) -> LookRequest:
        with self._lock:
            wanted = list(self._wanted)
        today = self._policy.meter.today()
        known = [name for name, model in self._verdict.models.items() if model.is_listed and name not in wanted]
        return LookRequest(
            origin=self._origin,
            folder=str(self._folder),
            root_file=self._root_file,
            root_sha256=self._options.root_sha256,
            not_before=self._clock.now(),
            models=tuple((wanted + known)[:MODELS_MAX]),
            network=asdict(self._policy.options),
            config_folder=str(self._policy.folder),
            bytes_sent_today=today.bytes_sent,
            bytes_moved_today=today.bytes_moved,
            egress_bytes_per_day=self._verdict.config.egress_bytes_per_day,
        )

    def _accept(self, verdict: Verdict) -> None:
        if verdict.root_sha256 != self._verdict.root_sha256:
            self._log.info("fleet_root", fingerprint=verdict.root_sha256)
        with self._lock:
            self._verdict = verdict
        self._keep(verdict)
        self._clock.note_passed(verdict.checked_at)
        self._backoff.succeeded()
        self.last_error = ""
        self._plan(self._refresh_seconds())
        refused = [sha256[:12] for sha256, model in verdict.models.items() if not model.is_listed]
        self._log.debug("trust_refreshed", versions=verdict.versions, models=len(verdict.models), refused=refused)

    def _keep(self, verdict: Verdict) -> None:
        # Two looks at once, in this process or another, end at once too: both would rename the same temporary file.
        with self._path.with_name(self._path.name + ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            write_durably(self._path, verdict.to_json())

    def _fail(self, failure: LookFailed) -> None:
        self.last_error = f"{failure.code}: {failure}"
        if failure.is_stopped and self._verdict.valid_until > self._clock.now():
            # The fleet's own signed word that time is up: it must not wait for the older word's expiry.
            with self._lock:
                self._verdict = replace(self._verdict, valid_until=min(self._verdict.valid_until, self._clock.now()))
            write_durably(self._path, self._verdict.to_json())
        self._plan(self._backoff.failed())
        self._log.warning("trust_not_refreshed", code=failure.code, detail=str(failure)[:300])

    def _plan(self, seconds: float) -> None:
        self._looked_at = boot_seconds()
        self._next_at = self._looked_at + seconds

    def _due_at(self) -> float:
        with self._lock:
            wanted = [self._verdict.models.get(sha256) for sha256 in self._wanted]
        if self.last_error or not any(model is None or self._is_stale(model) for model in wanted):
            return self._next_at
        return min(self._next_at, self._looked_at + LOOK_GAP_SECONDS)

    def _is_stale(self, model: ModelVerdict) -> bool:
        now = self._clock.now()
        return now >= model.valid_until if model.is_listed else now - model.checked_at > REFUSED_SECONDS

    def _refresh_seconds(self) -> float:
        signed = self._verdict.config.refresh_seconds
        return min(signed, self._options.refresh_seconds) if signed > 0 else self._options.refresh_seconds

    def _explain(self, sentence: str) -> str:
        return f"{sentence} ({self.last_error})" if self.last_error else sentence

    def _read_verdict(self) -> Verdict:
        try:
            return Verdict.from_json(self._path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, VerdictUnreadable) as error:
            # It is only a memory of signed files: the next look finds all of it again.
            self._log.warning("trust_verdict_unreadable", detail=str(error)[:300])
        return Verdict(checked_at=0.0, valid_until=0.0)


__all__ = ["Admission", "ModelVerdict", "SignedConfig", "TrustGate"]
