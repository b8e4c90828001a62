"""What a staged change says, for the person who is about to sign it, and what is in force, for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tuf.api.metadata import Metadata, Root, Targets

from workunits.trust.keys import name_of
from workunits.trust.names import CHANNELS_TARGET, CONFIG_TARGET, MODELS
from workunits.trust.staged import Staged


def describe_staged(staged: Staged) -> Iterator[str]:
    """Yield lines that say everything a signature would stand for."""
    signed = staged.metadata.signed
    yield f"{staged.role} version {signed.version}, valid until {signed.expires:%Y-%m-%d %H:%M} UTC"
    if isinstance(signed, Root):
        yield from _describe_root(signed)
    elif isinstance(signed, Targets):
        yield from _describe_targets(signed)
    for path in (CONFIG_TARGET, CHANNELS_TARGET):
        if path in staged.files:
            yield f"  new {path}:"
            yield from (f"    {line}" for line in staged.files[path].decode("utf-8", "replace").splitlines())
    yield from staged.missing() or ["It has all the signatures it needs."]


def describe_role(metadata: Metadata[Any], *, name: str, now: datetime) -> str:
    """Return one line about a role in force."""
    left = metadata.signed.expires - now
    state = "EXPIRED" if left.total_seconds() <= 0 else f"{left.total_seconds() / 3600:.1f} h left"
    return (
        f"{name:<10} version {metadata.signed.version:<6} until {metadata.signed.expires:%Y-%m-%d %H:%M} UTC ({state})"
    )


def _describe_root(root: Root) -> Iterator[str]:
    for name, role in sorted(root.roles.items()):
        keys = ", ".join(f"{name_of(root.keys[keyid])} {keyid[:12]}" for keyid in role.keyids)
        yield f"  {name}: {role.threshold} of {len(role.keyids)}: {keys}"


def _describe_targets(targets: Targets) -> Iterator[str]:
    for path, target in sorted(targets.targets.items()):
        yield f"  {path}  {target.length} bytes  sha256 {target.hashes['sha256']}"
    if targets.delegations is not None and targets.delegations.roles is not None:
        for keyid in targets.delegations.roles[MODELS].keyids:
            yield f"  models/* are signed by {name_of(targets.delegations.keys[keyid])} {keyid[:12]}"
