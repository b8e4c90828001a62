"""What people with offline keys decide: the first root and targets, releases, the cars' configuration, new keys.

Each function returns metadata to stage; nothing here signs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, TargetFile, Targets

from workunits.trust.errors import TrustError
from workunits.trust.names import (
    CHANNELS_TARGET,
    CONFIG_TARGET,
    MODELS,
    MODELS_PATTERN,
    RELEASE_PREFIX,
    ROOT,
    ROOT_LIFETIME,
    SNAPSHOT,
    TARGETS,
    TARGETS_LIFETIME,
    TIMESTAMP,
)
from workunits.trust.staged import Staged

RELEASE_BYTES_MAX: Final = 32 * 1024 * 1024
REFRESH_SECONDS_MAX: Final = 6 * 3600
_WHEEL = re.compile(r"[A-Za-z0-9_.]+-(?P<version>[0-9][A-Za-z0-9_.!+]*)(-[A-Za-z0-9_.]+){3,4}\.whl")
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ORIGIN = re.compile(r"https?://[^/\s]+")


class ChangeRefused(TrustError):
    """The change makes no sense; the text says why."""

    code: ClassVar[str] = "change_refused"


@dataclass(frozen=True, kw_only=True)
class Holders:
    """Who may sign what: keys of the people for root and targets, and the admission service's by role."""

    root: Sequence[SSlibKey]
    root_threshold: int
    targets: Sequence[SSlibKey]
    targets_threshold: int
    online: Mapping[str, SSlibKey]


@dataclass(frozen=True, kw_only=True)
class CarConfig:
    """What the offline keys tell every car: where it may connect, what it may send a day, how often to look."""

    origins: tuple[str, ...]
    egress_bytes_per_day: int = 2 * 1024**3
    refresh_seconds: float = 900.0

    def to_bytes(self) -> bytes:
        """Return the signed file. Raises ChangeRefused."""
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ChangeRefused(f"{origin!r} is not an origin such as https://fleet.example")
        if not self.origins:
            raise ChangeRefused("name at least one origin, or no car may talk to anybody")
        if self.egress_bytes_per_day <= 0:
            raise ChangeRefused("the egress budget must be above zero bytes a day")
        if not 1 <= self.refresh_seconds <= REFRESH_SECONDS_MAX:
            raise ChangeRefused(f"cars look at the repository every 1 to {REFRESH_SECONDS_MAX} seconds")
        return _json_bytes(
            {
                "origins": list(self.origins),
                "egress_bytes_per_day": self.egress_bytes_per_day,
                "refresh_seconds": self.refresh_seconds,
            }
        )


@dataclass(frozen=True, kw_only=True)
class Release:
    """A client release to put on a channel."""

    channel: str
    file_name: str
    content: bytes
    ring_percent: float
    is_security: bool = False


def first_root(holders: Holders, *, now: datetime) -> Staged:
    """Return the root that every car starts from."""
    root = Root(version=1, expires=now + ROOT_LIFETIME, consistent_snapshot=True)
    for name, keys, threshold in (
        (ROOT, holders.root, holders.root_threshold),
        (TARGETS, holders.targets, holders.targets_threshold),
        (SNAPSHOT, [holders.online[SNAPSHOT]], 1),
        (TIMESTAMP, [holders.online[TIMESTAMP]], 1),
    ):
        _set_keys(root, name, keys, threshold)
    return Staged(metadata=Metadata(root))


def first_targets(holders: Holders, config: CarConfig, *, now: datetime) -> Staged:
    """Return the targets that hand the models to the admission service, with the cars' configuration."""
    key = holders.online[MODELS]
    role = DelegatedRole(MODELS, [key.keyid], 1, terminating=True, paths=[MODELS_PATTERN])
    targets = Targets(
        version=1,
        expires=now + TARGETS_LIFETIME,
        delegations=Delegations({key.keyid: key}, roles={MODELS: role}),
    )
    files = {CONFIG_TARGET: config.to_bytes(), CHANNELS_TARGET: _json_bytes({"channels": {}})}
    _set_targets(targets, files)
    return Staged(metadata=Metadata(targets), files=files)


def next_targets(
    current: Targets,
    *,
    now: datetime,
    config: CarConfig | None = None,
    release: Release | None = None,
    channels: Mapping[str, Any] | None = None,
    models_key: SSlibKey | None = None,
) -> Staged:
    """Return the next targets: another configuration, a release, another admission key, or only a later expiry.

    `channels` is the present `client/channels.json`, needed for a release.
    """
    targets = _next(current, now + TARGETS_LIFETIME)
    files: dict[str, bytes] = {}
    if config is not None:
        files[CONFIG_TARGET] = config.to_bytes()
    if release is not None:
        files |= _release_files(release, channels or {})
    if models_key is not None:
        _set_models_key(targets, models_key)
    _set_targets(targets, files)
    return Staged(metadata=Metadata(targets), files=files)


def next_root(
    current: Root,
    *,
    now: datetime,
    holders: Mapping[str, tuple[Sequence[SSlibKey], int]] | None = None,
) -> Staged:
    """Return the next root: other keys or another threshold for some roles (by name), or only a later expiry."""
    root = _next(current, now + ROOT_LIFETIME)
    for name, (keys, threshold) in (holders or {}).items():
        for keyid in list(root.roles[name].keyids):
            root.revoke_key(keyid, name)
        _set_keys(root, name, keys, threshold)
    return Staged(metadata=Metadata(root))


def _release_files(release: Release, channels: Mapping[str, Any]) -> dict[str, bytes]:
    wheel = _WHEEL.fullmatch(release.file_name)
    if wheel is None:
        raise ChangeRefused(f"{release.file_name!r} is not the name of a wheel (…-VERSION-py3-none-any.whl)")
    if not _CHANNEL.fullmatch(release.channel):
        raise ChangeRefused(f"{release.channel!r} is no name for a channel: small letters, digits and - are")
    if not 0 < release.ring_percent <= 100:
        raise ChangeRefused(f"the ring is a share of the cars, above 0 to 100 percent, not {release.ring_percent}")
    if len(release.content) > RELEASE_BYTES_MAX:
        raise ChangeRefused(f"the release has {len(release.content)} bytes; at most {RELEASE_BYTES_MAX} are allowed")
    path = RELEASE_PREFIX + release.file_name
    line = {
        "version": wheel["version"],
        "target": path,
        "ring_percent": release.ring_percent,
        "is_security": release.is_security,
    }
    return {path: release.content, CHANNELS_TARGET: _json_bytes({"channels": {**channels, release.channel: line}})}


def _next(current: Any, expires: datetime) -> Any:
    following = copy.deepcopy(current)
    following.version += 1
    following.expires = expires.replace(microsecond=0)
    return following


def _set_keys(root: Root, role: str, keys: Sequence[SSlibKey], threshold: int) -> None:
    distinct = {key.keyid: key for key in keys}
    if not 1 <= threshold <= len(distinct):
        raise ChangeRefused(f"{role} would need {threshold} signatures of {len(distinct)} different keys")
    for key in distinct.values():
        root.add_key(key, role)
    root.roles[role] = Role(list(distinct), threshold)


def _set_models_key(targets: Targets, key: SSlibKey) -> None:
    delegations = targets.delegations
    if delegations is None or not delegations.roles or MODELS not in delegations.roles:
        raise ChangeRefused("these targets hand no models to an admission service")
    for keyid in list(delegations.roles[MODELS].keyids):
        targets.revoke_key(keyid, MODELS)
    targets.add_key(key, MODELS)


def _set_targets(targets: Targets, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        targets.targets[path] = TargetFile(
            length=len(content), hashes={"sha256": hashlib.sha256(content).hexdigest()}, path=path
        )


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
