"""The repository as the admission service signs it: models in hashed bins, snapshot, timestamp.

Root and targets come from people and are believed only with enough of their signatures. Every change is written so
that the timestamp comes last; a run that was cut off anywhere is completed by the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from workunits.trust import names
from workunits.trust.errors import TrustError
from workunits.trust.folder import AdmissionFolder, write_file
from workunits.trust.kept import KeptFiles
from workunits.trust.log import ADMITTED, Entry, LogFile
from workunits.trust.staged import Staged


class KeyMissing(TrustError):
    """The folder lacks a key that the root or the targets name."""

    code: ClassVar[str] = "key_missing"


class ChangeOutOfTurn(TrustError):
    """A staged change does not follow what is in force."""

    code: ClassVar[str] = "change_out_of_turn"


@dataclass(frozen=True, kw_only=True)
class Lifetimes:
    """How long the timestamp lives, and how often it is signed again."""

    timestamp: timedelta = names.TIMESTAMP_LIFETIME
    timestamp_period: timedelta = names.TIMESTAMP_PERIOD

    def __post_init__(self) -> None:
        """Refuse what would take the stop switch away."""
        if not timedelta() < self.timestamp <= names.TIMESTAMP_LIFETIME_MAX:
            raise TrustError(f"a timestamp may live for {names.TIMESTAMP_LIFETIME_MAX} at most: it is the stop switch")
        if self.timestamp_period >= self.timestamp:
            raise TrustError("a timestamp must be signed again before it expires")


class Repository:
    """One installation's repository. Not thread-safe; the folder's lock keeps other processes out."""

    def __init__(
        self, folder: AdmissionFolder, *, bin_bits: int = names.BIN_BITS, lifetimes: Lifetimes | None = None
    ) -> None:
        """Read what is on disk. Raises TrustError where it is damaged."""
        self.folder = folder
        self.log = LogFile(folder.log)
        self.kept = KeptFiles(folder.repository)
        self._bin_bits = bin_bits
        self._lifetimes = lifetimes or Lifetimes()
        self._signers = folder.signers()

    def find(self, sha256: str) -> TargetFile | None:
        """Return the entry of a model, None where it is not admitted."""
        if self.kept.timestamp is None:
            return None
        path = names.model_path(sha256)
        return self.kept.bin(self.kept.succinct().get_role_for_target(path)).signed.targets.get(path)

    # -- signing -----------------------------------------------------------------------------------------------

    @property
    def can_sign(self) -> bool:
        """Whether people have published a root and targets, and both name keys that are in the folder."""
        if self.kept.root is None or self.kept.targets is None:
            return False
        try:
            for role in names.ONLINE_ROLES:
                self._signer(role)
        except KeyMissing:
            return False
        return True

    def is_due(self, now: datetime) -> bool:
        """Whether something is to be signed without a new change: by its age, or because a run was cut off."""
        kept = self.kept
        if not self.can_sign or self.folder.is_stopped:
            return False
        if kept.timestamp is None or kept.snapshot is None or self._is_behind():
            return True
        signed_at = kept.timestamp.signed.expires - self._lifetimes.timestamp
        if now >= signed_at + self._lifetimes.timestamp_period:
            return True
        return self._is_aged(kept.models, now) or self._is_aged(kept.snapshot, now) or any(self._aged_bins(now))

    @property
    def is_log_ahead(self) -> bool:
        """Whether a run was cut off between logging and signing."""
        return self.kept.log_head() != self.log.head

    def take_root(self, staged: Staged) -> None:
        """Take in a root that enough people signed. Raises TrustError; `sign` has to follow."""
        new = staged.metadata.signed
        if not isinstance(new, Root):
            raise ChangeOutOfTurn(f"this changes {staged.role}, not root")
        if self._is_in_force(staged, self.kept.root):
            return
        current = self.kept.root.signed if self.kept.root else None
        _check_turn(new, current)
        staged.check(current or new)
        if self.kept.targets is not None and not _accepts(new, self.kept.targets):
            raise ChangeOutOfTurn(
                "the targets in force lack signatures of the new root's keys, so no car would believe them: publish"
                " targets that the old and the new keys signed first (`trust_rotate targets` stages both)"
            )
        self._signer_of(new, names.SNAPSHOT)
        self._signer_of(new, names.TIMESTAMP)
        self.kept.write(names.ROOT, staged.metadata)
        self.kept.root = staged.metadata

    def take_targets(self, staged: Staged) -> None:
        """Take in targets that enough people signed, with the files they name. Raises TrustError; `sign` follows."""
        new = staged.metadata.signed
        if self.kept.root is None:
            raise ChangeOutOfTurn("publish the root first")
        if not isinstance(new, Targets) or new.delegations is None:
            raise ChangeOutOfTurn("this changes no targets that hand models to an admission service")
        if self._is_in_force(staged, self.kept.targets):
            return
        _check_turn(new, self.kept.targets.signed if self.kept.targets else None)
        staged.check(self.kept.root.signed)
        staged.check_files()
        self._signer_of(new, names.MODELS)
        for path, target in new.targets.items():
            self._keep_target(path, target, staged.files.get(path))
        self.kept.write(names.TARGETS, staged.metadata)
        self.kept.targets = staged.metadata

    def sign(self, entries: Sequence[Entry] = (), *, now: datetime) -> None:
        """Log models that were admitted or revoked, and sign everything that has changed or grown old.

        Bins, models, snapshot and timestamp are written in this order: each names only what is on disk already.
        Raises TrustError, with nothing signed, where people have not published yet or a key is missing.
        """
        kept, now = self.kept, now.replace(microsecond=0)
        if kept.root is None or kept.targets is None:
            raise ChangeOutOfTurn("people have published no root and targets yet (trust_init, trust_sign)")
        for role in names.ONLINE_ROLES:
            self._signer(role)
        if entries:
            self.log.append(entries)
        changed: dict[str, Metadata[Any]] = {}
        all_bins = self._is_aged(kept.models, now) or not self._is_signed_by_ours(names.MODELS, kept.models)
        if all_bins:
            changed[names.MODELS] = kept.models = self._next_models(now)
        for entry in self.log.read(kept.log_head().count):
            self._apply(changed, entry, now)
        for name in kept.succinct().get_roles() if all_bins else self._aged_bins(now):
            self._open_bin(changed, name, now)
        for name, metadata in changed.items():
            self._write(name, metadata)
        self._sign_snapshot(changed, now)
        if not self.folder.is_stopped:
            self._sign_timestamp(now + self._lifetimes.timestamp)
            kept.sweep()

    def is_own_timestamp_after(self, content: bytes) -> bool:
        """Whether these bytes are a timestamp that the root in force vouches for, newer than the one in the folder."""
        if self.kept.root is None:
            return False
        try:
            shown = Metadata[Timestamp].from_bytes(content)
            self.kept.root.signed.verify_delegate(names.TIMESTAMP, shown.signed_bytes, shown.signatures)
        except RepositoryError:
            return False  # somebody else's: the next publication replaces it
        return self.kept.timestamp is None or shown.signed.version > self.kept.timestamp.signed.version

    def stop(self, *, now: datetime) -> None:
        """Sign a last timestamp that expires at once, and none after it until `folder.resume`."""
        self.folder.stop()
        if self.kept.timestamp is not None and self.kept.snapshot is not None:
            self._sign_timestamp(now.replace(microsecond=0) + names.STOP_GRACE)

    def _apply(self, changed: dict[str, Metadata[Any]], entry: Entry, now: datetime) -> None:
        path = names.model_path(entry.sha256)
        targets = self._open_bin(changed, self.kept.succinct().get_role_for_target(path), now).targets
        targets.pop(path, None)
        if entry.kind == ADMITTED:
            custom = {"custom": entry.custom()}
            targets[path] = TargetFile(entry.size_bytes, {"sha256": entry.sha256}, path, custom)

    def _open_bin(self, changed: dict[str, Metadata[Any]], name: str, now: datetime) -> Targets:
        """Return the next version of a bin, which this signing will write."""
        if name not in changed:
            previous = self.kept.bin(name).signed if self.kept.has_bin(name) else None
            following = Targets(
                version=self.kept.next_version(name, previous.version if previous else 0),
                expires=now + names.BIN_LIFETIME,
                targets=dict(previous.targets) if previous else {},
            )
            changed[name] = Metadata(following)
        signed: Targets = changed[name].signed
        return signed

    def _next_models(self, now: datetime) -> Metadata[Targets]:
        key = self._signer(names.MODELS).public_key
        previous = self.kept.models
        # A model stays in its bin: their number never changes once there are any.
        bits = self.kept.succinct().bit_length if previous else self._bin_bits
        bins = SuccinctRoles([key.keyid], 1, bits, names.BIN_PREFIX)
        return Metadata(
            Targets(
                version=self.kept.next_version(names.MODELS, previous.signed.version if previous else 0),
                expires=now + names.MODELS_LIFETIME,
                delegations=Delegations({key.keyid: key}, succinct_roles=bins),
            )
        )

    def _sign_snapshot(self, changed: dict[str, Metadata[Any]], now: datetime) -> None:
        kept, head = self.kept, self.log.head
        assert kept.targets is not None
        meta = dict(kept.snapshot.signed.meta) if kept.snapshot else {}
        for name, metadata in changed.items():
            meta[f"{name}.json"] = MetaFile(metadata.signed.version)
        # With its hash: people may have signed two changes of the same version, and only one of them was taken in.
        targets = kept.targets.signed.version
        meta[f"{names.TARGETS}.json"] = _meta_file(targets, kept.read(names.file_name(names.TARGETS, targets)))
        is_same = kept.snapshot is not None and meta == kept.snapshot.signed.meta and head == kept.log_head()
        is_old = self._is_aged(kept.snapshot, now) or not self._is_signed_by_ours(names.SNAPSHOT, kept.snapshot)
        if is_same and not is_old:
            return
        version = kept.next_version(names.SNAPSHOT, kept.snapshot.signed.version if kept.snapshot else 0)
        signed = Snapshot(version=version, expires=now + names.SNAPSHOT_LIFETIME, meta=meta)
        signed.unrecognized_fields["log"] = {"count": head.count, "hash": head.hash}
        following = Metadata(signed)
        self._write(names.SNAPSHOT, following)
        kept.snapshot = following

    def _sign_timestamp(self, expires: datetime) -> None:
        kept = self.kept
        assert kept.snapshot is not None
        version = kept.snapshot.signed.version
        content = kept.read(names.file_name(names.SNAPSHOT, version))
        signed = Timestamp(
            version=kept.timestamp.signed.version + 1 if kept.timestamp else 1,
            expires=expires,
            snapshot_meta=_meta_file(version, content),
        )
        following = Metadata(signed)
        self._write(names.TIMESTAMP, following)
        kept.timestamp = following

    # -- people's word -----------------------------------------------------------------------------------------

    def _is_in_force(self, staged: Staged, current: Metadata[Any] | None) -> bool:
        """Whether this very change was taken in already, by a run that did not get to say so."""
        return current is not None and staged.metadata.signed_bytes == current.signed_bytes

    def _keep_target(self, path: str, target: TargetFile, content: bytes | None) -> None:
        place = self.kept.place / names.target_name(path, target.hashes["sha256"])
        if not place.resolve().is_relative_to(self.kept.place.resolve()):
            raise ChangeOutOfTurn(f"{path} leads out of the repository")
        if content is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_file(place, content)
        elif not place.exists():
            raise ChangeOutOfTurn(f"{path} is named, but its content is neither in the change nor published already")

    # -- keys and age ------------------------------------------------------------------------------------------

    def _signer(self, role: str) -> CryptoSigner:
        """Return the key for an online role or a bin. Raises KeyMissing."""
        assert self.kept.root is not None
        assert self.kept.targets is not None
        if role in (names.SNAPSHOT, names.TIMESTAMP):
            return self._signer_of(self.kept.root.signed, role)
        return self._signer_of(self.kept.targets.signed, names.MODELS)

    def _signer_of(self, delegator: Root | Targets, role: str) -> CryptoSigner:
        stated = delegator.get_delegated_role(role)
        for keyid in stated.keyids:
            if keyid in self._signers and stated.threshold == 1:
                return self._signers[keyid]
        raise KeyMissing(
            f"{self.folder.keys} has no key that may sign {role}; it was made for other keys"
            " (after trust_init --online the service has to be started again)"
        )

    def _write(self, role: str, metadata: Metadata[Any]) -> None:
        metadata.sign(self._signer(role))
        self.kept.write(role, metadata)

    def _is_signed_by_ours(self, role: str, metadata: Metadata[Any] | None) -> bool:
        return metadata is not None and self._signer(role).public_key.keyid in metadata.signatures

    def _is_behind(self) -> bool:
        """Whether what people or the log say is not in the snapshot yet, or keys have changed since."""
        kept = self.kept
        assert kept.snapshot is not None
        assert kept.targets is not None
        named = kept.snapshot.signed.meta[f"{names.TARGETS}.json"].version
        online = ((names.SNAPSHOT, kept.snapshot), (names.TIMESTAMP, kept.timestamp), (names.MODELS, kept.models))
        return (
            self.is_log_ahead
            or named != kept.targets.signed.version
            or not all(self._is_signed_by_ours(role, metadata) for role, metadata in online)
        )

    def _aged_bins(self, now: datetime) -> Iterator[str]:
        half = names.BIN_LIFETIME / 2
        return (name for name in self.kept.succinct().get_roles() if self.kept.bin_expires(name) - now < half)

    def _is_aged(self, metadata: Metadata[Any] | None, now: datetime) -> bool:
        """Whether half of a file's life is over (or there is none), which is when it is signed again."""
        if metadata is None:
            return True
        lifetime = names.MODELS_LIFETIME if metadata is self.kept.models else names.BIN_LIFETIME
        if isinstance(metadata.signed, Snapshot):
            lifetime = names.SNAPSHOT_LIFETIME
        return bool(metadata.signed.expires - now < lifetime / 2)


def _meta_file(version: int, content: bytes) -> MetaFile:
    return MetaFile(version, len(content), {"sha256": hashlib.sha256(content).hexdigest()})


def _accepts(root: Root, targets: Metadata[Targets]) -> bool:
    return bool(root.get_verification_result(names.TARGETS, targets.signed_bytes, targets.signatures))


def _check_turn(new: Root | Targets, current: Root | Targets | None) -> None:
    wanted = current.version + 1 if current else 1
    if new.version != wanted:
        raise ChangeOutOfTurn(f"{new.type} has version {new.version}, but {wanted} is next: stage the change again")
