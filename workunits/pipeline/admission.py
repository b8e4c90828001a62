"""Admission: the only stage that runs outside the web tier's trust, with the keys that let cars run a model.

In: models that intake has stored, orders of operators. Out: signed metadata, the public log. Moves: admission
REQUESTED -> SIGNED or REFUSED, SIGNED -> REVOKED. It believes nothing that the web tier wrote (`examine`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

from workunits.models import ModelAdmission, TrustOrder
from workunits.pipeline.examine import Examine, NotAsStated, examine_model
from workunits.sandbox.admit import ModelRefused, admit
from workunits.sandbox.report import AdmissionRequest, ModelFacts
from workunits.store.admissions import AskedModel, Decision, note_attempt, record_decisions, record_revoked, take_asked
from workunits.store.trust_files import (
    PublishedFile,
    close_order,
    get_log_end,
    get_trust_file,
    list_open_orders,
    list_published,
    publish_files,
)
from workunits.trust import names
from workunits.trust.errors import TrustError
from workunits.trust.log import ADMITTED, REVOKED, Entry, Head, LogBroken, digest_facts, follow
from workunits.trust.repository import Repository
from workunits.trust.staged import Staged

log = logging.getLogger(__name__)

MODELS_PER_SIGNING: Final = 16
# Once the first of a handful has been examined, it waits for the others no longer than this.
GATHER: Final = timedelta(seconds=3)
ATTEMPTS_MAX: Final = 3


class FolderOutdated(TrustError):
    """The service's folder is older than what was published from it."""

    code: ClassVar[str] = "folder_outdated"


class AdmissionService:
    """One pass of the service at a time; everything that must survive is in the repository's folder."""

    def __init__(self, repository: Repository, *, examine: Examine = admit) -> None:
        self._repository = repository
        self._examine = examine

    def run_once(self, *, clock: Callable[[], datetime]) -> int:
        """Do what waits: orders, models, what time asks for; return how many things were done.

        A crash anywhere loses nothing: what was signed is on disk and is published by the next pass.
        """
        self._check_folder_is_newest()
        done = self._obey(clock())
        if not self._repository.folder.is_stopped and self._repository.can_sign:
            done += self._admit(clock)
            if self._repository.is_due(clock()):
                self._repository.sign(now=clock())
                done += 1
        self._publish(clock())
        return done

    # -- orders ------------------------------------------------------------------------------------------------

    def _obey(self, now: datetime) -> int:
        done = 0
        for order in list_open_orders():
            if order.kind == TrustOrder.Kind.REVOKE and not self._repository.can_sign:
                # A folder that was rebuilt lists the model and cannot unlist it yet; the order waits for its keys.
                self._repository.folder.deny(order.sha256)
                continue
            try:
                outcome = self._obey_one(order, now)
            except TrustError as refusal:
                outcome = f"refused: {refusal}"
                log.warning("order %d (%s) refused: %s", order.id, order.kind, refusal)
            self._publish(now)
            close_order(order.id, outcome=outcome, now=now)
            done += 1
        return done

    def _obey_one(self, order: TrustOrder, now: datetime) -> str:
        if order.kind == TrustOrder.Kind.STOP:
            self._repository.stop(now=now)
            return "done: the fleet is stopped"
        if order.kind == TrustOrder.Kind.REVOKE:
            return self._revoke(order.sha256, now)
        staged = Staged.from_bytes(bytes(order.content))
        if staged.role == names.ROOT:
            self._repository.take_root(staged)
        else:
            self._repository.take_targets(staged)
        taken = f"{staged.role} version {staged.metadata.signed.version}"
        if not self._repository.can_sign:
            return f"done: {taken} is taken in; it waits for the other of root and targets"
        self._repository.sign(now=now)
        return f"done: {taken} is in force"

    def _revoke(self, sha256: str, now: datetime) -> str:
        folder = self._repository.folder
        # First of all: whatever happens next, it is not admitted again.
        folder.deny(sha256)
        if self._repository.is_log_ahead and self._repository.can_sign:
            self._repository.sign(now=now)  # a run that was cut off has logged models that it did not list
        listed = self._repository.find(sha256)
        if listed is not None:
            entry = follow(
                self._repository.log.head,
                kind=REVOKED,
                sha256=sha256,
                size_bytes=listed.length,
                admitted_at=_stamp(now),
                facts_sha256=listed.custom["log"]["facts_sha256"] if listed.custom else "",
            )
            self._repository.sign([entry], now=now)
        record_revoked(sha256, now=now)
        return "done: no car will run it" if listed is not None else "done: it was not admitted, and will not be"

    # -- models ------------------------------------------------------------------------------------------------

    def _admit(self, clock: Callable[[], datetime]) -> int:
        """Examine waiting models, then sign those that passed together."""
        decisions: dict[int, Decision] = {}
        entries: dict[str, Entry] = {}
        began_at = clock()
        while len(decisions) < MODELS_PER_SIGNING and (asked := take_asked(without=decisions)) is not None:
            try:
                decisions[asked.model_id] = self._decide(asked, entries, clock())
            except ModelRefused as refusal:
                decisions[asked.model_id] = _refused(asked, refusal.detail)
            if clock() - began_at > GATHER or _has_urgent_order():
                break
        if not decisions:
            return 0
        if entries:
            self._repository.sign(list(entries.values()), now=clock())
            self._publish(clock())
        # Last: a batch that starts now finds its model signed and published.
        record_decisions(list(decisions.values()), now=clock())
        for decision in decisions.values():
            log.info("model %d %s %s", decision.model_id, decision.state, decision.reason)
        return len(decisions)

    def _decide(self, asked: AskedModel, entries: dict[str, Entry], now: datetime) -> Decision:
        """Return what becomes of one model; puts its log entry into `entries` where it is new. Raises ModelRefused."""
        if asked.sha256 in self._repository.folder.read_denied():
            return Decision(
                model_id=asked.model_id, state=ModelAdmission.State.REVOKED, reason="revoked by an operator"
            )
        if asked.attempts >= ATTEMPTS_MAX:
            return _refused(asked, "its examination ended the admission service again and again")
        try:
            facts, size_bytes = examine_model(asked, scratch=self._repository.folder.path, examine=self._counted(asked))
        except NotAsStated as difference:
            return _refused(asked, str(difference))
        listed = self._repository.find(asked.sha256)
        if listed is not None and listed.custom:
            index = int(listed.custom["log"]["index"])
        else:
            index = self._log_once(asked.sha256, size_bytes, facts, entries, now)
        return Decision(model_id=asked.model_id, state=ModelAdmission.State.SIGNED, log_index=index)

    def _counted(self, asked: AskedModel) -> Examine:
        """Return the examination, counted as an attempt once the bytes are here: an outage is no model's fault."""

        def examine(path: Path, request: AdmissionRequest) -> ModelFacts:
            note_attempt(asked.model_id)
            return self._examine(path, request)

        return examine

    def _log_once(
        self, sha256: str, size_bytes: int, facts: Mapping[str, Any], entries: dict[str, Entry], now: datetime
    ) -> int:
        if sha256 not in entries:
            head = self._repository.log.head
            for entry in entries.values():
                head = Head(count=entry.index + 1, hash=entry.hash)
            entries[sha256] = follow(
                head,
                kind=ADMITTED,
                sha256=sha256,
                size_bytes=size_bytes,
                admitted_at=_stamp(now),
                facts_sha256=digest_facts(facts),
            )
        return entries[sha256].index

    # -- publishing --------------------------------------------------------------------------------------------

    def _publish(self, now: datetime) -> None:
        """Bring the database's copy to what is on disk, all at once."""
        kept = self._repository.kept
        self._check_folder_is_newest()
        wanted = {name: (role, version) for name, role, version in kept.names()}
        shown = list_published()
        missing = [name for name, (_, version) in wanted.items() if shown.get(name) != version]
        count, last_hash = get_log_end()
        self._check_shown_log(count, last_hash)
        entries = [asdict(entry) for entry in self._repository.log.read(count)] if self._has_more(count) else []
        if not missing and not entries and shown.keys() <= wanted.keys():
            return
        files = [
            PublishedFile(name=name, role=wanted[name][0], version=wanted[name][1], content=kept.read(name))
            for name in missing
        ]
        publish_files(files, kept=wanted, entries=entries, now=now)

    def _check_folder_is_newest(self) -> None:
        """Refuse to go on from an old backup: cars would refuse the lower versions. Raises FolderOutdated."""
        found = get_trust_file(names.file_name(names.TIMESTAMP, 0))
        own = self._repository.kept.timestamp
        if found is not None and self._repository.kept.root is None:
            raise FolderOutdated(
                f"{self._repository.folder.path} is empty, but a repository is published that cars believe: move the"
                " folder away, then `manage.py trust_init --restore`"
            )
        if found is not None and self._repository.is_own_timestamp_after(found[0]):
            version = own.signed.version if own else 0
            raise FolderOutdated(
                f"the published timestamp is newer than version {version} in {self._repository.folder.path}, which must"
                " be an old backup: move it away, then `manage.py trust_init --restore`"
            )

    def _has_more(self, count: int) -> bool:
        return count < self._repository.log.head.count

    def _check_shown_log(self, count: int, last_hash: str) -> None:
        """Refuse to go on where the public log is not the one that was signed. Raises LogBroken."""
        head = self._repository.log.head
        if count > head.count:
            raise LogBroken(f"the public log has {count} entries, {head.count} were signed: somebody has added some")
        if not count or count == head.count:
            matches = not count or last_hash == head.hash
        else:
            matches = next(self._repository.log.read(count - 1)).hash == last_hash
        if not matches:
            raise LogBroken(f"entry {count - 1} of the public log is not the one that was signed")


def _refused(asked: AskedModel, reason: str) -> Decision:
    return Decision(model_id=asked.model_id, state=ModelAdmission.State.REFUSED, reason=reason)


def _has_urgent_order() -> bool:
    return any(order.kind != TrustOrder.Kind.PUBLISH for order in list_open_orders())


def _stamp(now: datetime) -> str:
    return now.replace(microsecond=0).isoformat()
