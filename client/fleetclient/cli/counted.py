"""What a command that talks to the fleet shares with the agent: the owner's limits, the day's bytes, the trust gate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from fleetclient.cli.session import Session
from fleetclient.cli.work import make_policy
from fleetclient.config import Config
from fleetclient.logs import Log, make_redactor
from fleetclient.trust.tally import Tally
from fleetclient.usage import UsageMeter

if TYPE_CHECKING:
    from fleetclient.netpolicy.policy import NetworkPolicy
    from fleetclient.trust.gate import TrustGate


@contextmanager
def counted_policy(session: Session, config: Config, *, is_alone: bool) -> Iterator[NetworkPolicy]:
    """Give a policy whose bytes add to the day's.

    They are stored at the end where the command is alone (it holds the state folder's lock); beside a running agent,
    which keeps that file, they only count for the command itself.
    """
    usage = UsageMeter(session.state.usage, zone=ZoneInfo(config.rules.time_zone or "UTC"))
    today = usage.today()
    tally = Tally(sent_before=today.bytes_sent, moved_before=today.bytes_moved)
    policy = make_policy(config)
    policy.meter = tally
    try:
        yield policy
    finally:
        if is_alone and (tally.sent or tally.received):
            usage.add_bytes(tally.sent, tally.received)
            usage.close()


def make_gate(session: Session, config: Config, policy: NetworkPolicy) -> TrustGate:
    """Return the gate on what this car last read of the fleet's signed files, and bind the policy to their limits."""
    from fleetclient.trust.gate import TrustGate

    gate = TrustGate(
        options=config.trust,
        origin=config.server,
        folder=session.state.folder / "trust",
        log=Log(level="error", redactor=make_redactor(config)),
        policy=policy,
    )
    policy.signed_origins = lambda: gate.signed_config.origins
    policy.signed_egress_bytes = lambda: gate.signed_config.egress_bytes_per_day
    return gate


def say_root(gate: TrustGate) -> str:
    """Return a line with the root's fingerprint, after a first look where none was made; empty where trust is off."""
    if gate.is_off:
        return ""
    if not gate.root_fingerprint:
        gate.refresh()
    if gate.root_fingerprint:
        return f"Fleet root fingerprint: {gate.root_fingerprint}   (compare it with the operator's)"
    return f"The fleet's signed files could not be read yet: {why_not(gate)}. fleetclient trust show shows them later."


def why_not(gate: TrustGate) -> str:
    """Return why a look brought nothing."""
    return gate.last_error or "not on an allowed network, or today's bytes are spent"
