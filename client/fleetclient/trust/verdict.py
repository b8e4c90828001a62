"""What the last look at the repository found: the words between the child and the agent, and the file it is kept in.

Nothing here is believed for longer than its `valid_until`, which is the earliest expiry of the signed files it
comes from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from fleetclient.errors import ClientError


class VerdictUnreadable(ClientError):
    """A verdict is not in the form that this version writes."""

    code: ClassVar[str] = "verdict_unreadable"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVerdict:
    """What the repository says of one model. `size_bytes` is 0 where it does not list it.

    `log_index` and `log_hash` name its entry in the fleet's public log of models. All times are Unix seconds.
    """

    size_bytes: int
    valid_until: float
    checked_at: float
    log_index: int = -1
    log_hash: str = ""

    @property
    def is_listed(self) -> bool:
        """Whether the repository lists the model."""
        return self.size_bytes > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedConfig:
    """The part of the client's configuration that the fleet's offline keys sign.

    `origins` are the only servers this car may talk to (empty: the fleet has not said); `egress_bytes_per_day` is
    what it may send in a day at most (0: not said); `refresh_seconds` likewise.
    """

    origins: tuple[str, ...] = ()
    egress_bytes_per_day: int = 0
    refresh_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """One line of client releases: what a car that follows it should run.

    `ring_percent` is the share of cars that take it now; `is_security`: do not wait for a plug.
    """

    version: str
    target: str
    ring_percent: float = 100.0
    is_security: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A whole look at the repository. `versions` are those of the top-level roles, `root_sha256` the first root's."""

    checked_at: float
    valid_until: float
    root_sha256: str = ""
    versions: dict[str, int] = field(default_factory=dict)
    models: dict[str, ModelVerdict] = field(default_factory=dict)
    config: SignedConfig = SignedConfig()
    channels: dict[str, Channel] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the verdict as `from_json` reads it."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes | str) -> Self:
        """Read what `to_json` wrote. Raises VerdictUnreadable."""
        try:
            return cls._from_members(json.loads(content))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VerdictUnreadable(f"{type(error).__name__}: {error}") from None

    @classmethod
    def _from_members(cls, members: dict[str, Any]) -> Self:
        return cls(
            checked_at=float(members["checked_at"]),
            valid_until=float(members["valid_until"]),
            root_sha256=str(members["root_sha256"]),
            versions={str(name): int(version) for name, version in members["versions"].items()},
            models={str(sha256): ModelVerdict(**model) for sha256, model in members["models"].items()},
            config=SignedConfig(**{**members["config"], "origins": tuple(members["config"]["origins"])}),
            channels={str(name): Channel(**channel) for name, channel in members["channels"].items()},
        )
