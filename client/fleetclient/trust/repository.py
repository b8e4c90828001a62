"""A look at the repository with python-tuf: what may run, until when. Only `child` imports this.

The metadata folder persists between looks, which is what makes a rollback visible. python-tuf judges expiry by the
machine's clock; here every file that was relied on is judged once more by the greatest clock known.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root, Signed, TargetFile, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from fleetclient.files import write_durably
from fleetclient.trust.fetcher import RepositoryFetcher
from fleetclient.trust.log_entry import read_log_entry
from fleetclient.trust.look import LookRequest
from fleetclient.trust.verdict import Channel, ModelVerdict, SignedConfig, Verdict

TRUST_PATH = "/api/vehicle/v1/trust/"
CONFIG_TARGET = "client/config.json"
CHANNELS_TARGET = "client/channels.json"
RELEASE_PREFIX = "client/"
ROOT_BYTES_MAX = 256 * 1024
JSON_TARGET_BYTES_MAX = 256 * 1024
RELEASE_BYTES_MAX = 32 * 1024 * 1024
# A clock that is further ahead than this may be why something seems to have expired.
CLOCK_AHEAD_SECONDS = 1800.0
TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")
LIMITS = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=8,
    root_max_length=ROOT_BYTES_MAX,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=4 * 1024 * 1024,
    targets_max_length=4 * 1024 * 1024,
)


class TrustProblem(Exception):
    """The repository cannot be believed; `code` names why."""

    def __init__(self, code: str, detail: str, *, is_stopped: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.is_stopped = is_stopped


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a look found, and where a release was put (empty when none was asked for)."""

    verdict: Verdict
    downloaded: str = ""


class Repository:
    """One look. `folder` is the trust folder of one car; looks of several processes at it follow each other."""

    def __init__(self, request: LookRequest, fetcher: RepositoryFetcher) -> None:
        self._request = request
        self._fetcher = fetcher
        self._base = request.origin + TRUST_PATH
        self._folder = Path(request.folder)
        self._metadata = self._folder / "metadata"
        self._targets = self._folder / "targets"
        self._anchor = self._folder / "1.root.json"
        self._now = 0.0

    def look(self) -> Found:
        """Refresh, resolve what was asked for, and keep it all on disk. Raises TrustProblem."""
        for folder in (self._metadata, self._targets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the agent, its updates and `doctor` may look at the same time
            return self._look_alone()

    def _look_alone(self) -> Found:
        try:
            return self._look()
        except ExpiredMetadataError as error:
            is_stopped = self._keep_expired_timestamp()
            raise TrustProblem("metadata_expired", str(error) + self._clock_hint(), is_stopped=is_stopped) from None
        except DownloadError as error:
            raise TrustProblem(_download_code(error), str(error)) from None
        except RepositoryError as error:
            raise TrustProblem("metadata_refused", f"{type(error).__name__}: {error}") from None
        finally:
            _flush(self._metadata)

    def _look(self) -> Found:
        root = self._first_root()
        updater = Updater(
            str(self._metadata),
            self._base,
            target_dir=str(self._targets),
            target_base_url=self._base + "targets/",
            fetcher=self._fetcher,
            config=LIMITS,
            bootstrap=root,
        )
        updater.refresh()
        self._now = max(time.time(), self._request.not_before, self._fetcher.server_at)
        expiries = {role: self._expiry(role) for role in TOP_LEVEL}
        verdict = Verdict(
            checked_at=self._now,
            valid_until=min(expiries.values()),
            root_sha256=hashlib.sha256(root).hexdigest(),
            versions={role: self._load(role).version for role in TOP_LEVEL},
            models={sha256: self._judge(updater, sha256) for sha256 in self._request.models},
            config=self._read_config(updater),
            channels=self._read_channels(updater),
        )
        downloaded = self._download(updater, self._request.download) if self._request.download else ""
        return Found(verdict=verdict, downloaded=downloaded)

    # -- the first root ----------------------------------------------------------------------------------------

    def _first_root(self) -> bytes:
        """Return the root that this car started to trust: the pinned one, the kept one, or the first it is shown."""
        if self._request.root_file:
            content = _read(Path(self._request.root_file))
        elif self._anchor.exists():
            content = self._anchor.read_bytes()
        else:
            content = self._fetcher.download_bytes(self._base + "1.root.json", ROOT_BYTES_MAX)
        fingerprint = hashlib.sha256(content).hexdigest()
        if self._request.root_sha256 and fingerprint != self._request.root_sha256:
            raise TrustProblem(
                "root_mismatch",
                f"the first root has the fingerprint {fingerprint}, trust.root_sha256 asks for another",
            )
        if not self._anchor.exists() or self._anchor.read_bytes() != content:
            _check_root(content)
            self._forget_other_root()
            write_durably(self._anchor, content)
        return content

    def _forget_other_root(self) -> None:
        """Drop what an earlier anchor led to: the owner has pinned another root."""
        for path in sorted(self._metadata.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()

    # -- targets -----------------------------------------------------------------------------------------------

    def _judge(self, updater: Updater, sha256: str) -> ModelVerdict:
        unlisted = ModelVerdict(size_bytes=0, valid_until=self._now, checked_at=self._now)
        try:
            target = updater.get_targetinfo(f"models/{sha256}")
            valid_until = min((self._expiry(role) for role in self._roles_of(sha256)), default=self._now)
        except ExpiredMetadataError:
            return unlisted  # its bin has expired; that stops this model and no other
        if target is None or target.hashes.get("sha256") != sha256:
            return unlisted
        entry = read_log_entry(target.custom, sha256=sha256, size_bytes=target.length)
        if entry is None:
            return unlisted
        return ModelVerdict(
            size_bytes=target.length,
            valid_until=valid_until,
            checked_at=self._now,
            log_index=entry.index,
            log_hash=entry.hash,
        )

    def _roles_of(self, sha256: str) -> list[str]:
        """Return the delegated roles that a model's path leads through, each of which must be fresh."""
        path = f"models/{sha256}"
        roles: list[str] = []
        delegations = self._load("targets").delegations
        while delegations is not None:
            name = next((name for name, _ in delegations.get_roles_for_target(path)), None)
            if name is None or name in roles:
                break
            roles.append(name)
            delegations = self._load(name).delegations
        return roles

    def _read_config(self, updater: Updater) -> SignedConfig:
        document = self._read_json(updater, CONFIG_TARGET)
        if document is None:
            return SignedConfig()
        try:
            return SignedConfig(
                origins=tuple(str(origin) for origin in document["origins"]),
                egress_bytes_per_day=int(document["egress_bytes_per_day"]),
                refresh_seconds=float(document["refresh_seconds"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TrustProblem("target_unreadable", f"{CONFIG_TARGET}: {type(error).__name__}: {error}") from None

    def _read_channels(self, updater: Updater) -> dict[str, Channel]:
        document = self._read_json(updater, CHANNELS_TARGET)
        if document is None:
            return {}
        try:
            return {
                str(name): Channel(
                    version=str(line["version"]),
                    target=str(line["target"]),
                    ring_percent=float(line["ring_percent"]),
                    is_security=bool(line["is_security"]),
                )
                for name, line in document["channels"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrustProblem("target_unreadable", f"{CHANNELS_TARGET}: {type(error).__name__}: {error}") from None

    def _read_json(self, updater: Updater, path: str) -> dict[str, Any] | None:
        """Return a small signed document; None where the fleet has none."""
        target = updater.get_targetinfo(path)
        if target is None:
            return None
        content = self._fetch_target(updater, target, JSON_TARGET_BYTES_MAX).read_bytes()
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise TrustProblem("target_unreadable", f"{path} is not a JSON object")
        return document

    def _download(self, updater: Updater, path: str) -> str:
        if not path.startswith(RELEASE_PREFIX):
            raise TrustProblem("target_refused", f"{path} is not a release")
        target = updater.get_targetinfo(path)
        if target is None:
            raise TrustProblem("target_unknown", f"the fleet has signed no {path}")
        return str(self._fetch_target(updater, target, RELEASE_BYTES_MAX))

    def _fetch_target(self, updater: Updater, target: TargetFile, bytes_max: int) -> Path:
        if target.length > bytes_max:
            raise TrustProblem("target_refused", f"{target.path} has {target.length} bytes, over {bytes_max}")
        kept = updater.find_cached_target(target)
        return Path(kept or updater.download_target(target))

    # -- expiry ------------------------------------------------------------------------------------------------

    def _load(self, role: str) -> Any:
        """Return the signed part of a role's metadata as python-tuf has verified and kept it."""
        return Metadata.from_file(str(self._metadata / f"{quote(role, '')}.json")).signed

    def _expiry(self, role: str) -> float:
        """Return when a role expires. Raises ExpiredMetadataError where it already has, by the greatest clock."""
        signed: Signed = self._load(role)
        if signed.is_expired(datetime.fromtimestamp(self._now, UTC)):
            raise ExpiredMetadataError(f"{role} expired at {signed.expires:%Y-%m-%d %H:%M:%S} UTC")
        return signed.expires.timestamp()

    def _clock_hint(self) -> str:
        ahead_seconds = max(time.time(), self._request.not_before) - self._fetcher.server_at
        if not self._fetcher.server_at or ahead_seconds < CLOCK_AHEAD_SECONDS:
            return ""
        return f"; this car's clock is {ahead_seconds / 3600:.1f} h ahead of the server's: set it right"

    def _keep_expired_timestamp(self) -> bool:
        """Keep a timestamp that has expired, and return whether it is the fleet's newest word.

        python-tuf drops it, and an older one that still lives would then be believed again: the stop switch of the
        fleet must not be undone by whoever stands between.
        """
        try:
            newest: Metadata[Timestamp] = Metadata[Timestamp].from_bytes(self._fetcher.last_timestamp)
            root: Metadata[Root] = Metadata[Root].from_file(str(self._metadata / "root.json"))
            root.signed.verify_delegate("timestamp", newest.signed_bytes, newest.signatures)
            kept = self._kept_timestamp_version(root.signed)
        except (RepositoryError, OSError):
            return False  # there is no newer word, or it is not the fleet's
        now = max(time.time(), self._request.not_before, self._fetcher.server_at)
        if newest.signed.version < kept or not newest.signed.is_expired(datetime.fromtimestamp(now, UTC)):
            return False
        write_durably(self._metadata / "timestamp.json", self._fetcher.last_timestamp)
        return True

    def _kept_timestamp_version(self, root: Root) -> int:
        """Return the version of the timestamp that is kept; 0 where there is none that this root vouches for."""
        try:
            kept: Metadata[Timestamp] = Metadata[Timestamp].from_file(str(self._metadata / "timestamp.json"))
            root.verify_delegate("timestamp", kept.signed_bytes, kept.signatures)
        except (RepositoryError, OSError):
            return 0
        return kept.signed.version


def _check_root(content: bytes) -> None:
    """Refuse a first root that is not signed by its own threshold of keys."""
    root = Metadata[Root].from_bytes(content)
    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustProblem("root_missing", f"trust.root_file {path} cannot be read: {error.strerror}") from None


def _download_code(error: DownloadError) -> str:
    if isinstance(error, DownloadHTTPError):
        return "repository_incomplete"
    if isinstance(error, DownloadLengthMismatchError):
        return "too_large"
    return str(getattr(error, "code", "unreachable"))


def _flush(folder: Path) -> None:
    """Force to disk what python-tuf has renamed into place, so that a power cut cannot bring an older state back."""
    for path in [*folder.rglob("*.json"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
