"""`update check`, `update apply`, `trust show`: signed releases of this client, and whose signatures are believed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fleetclient.cli.counted import counted_policy, make_gate, why_not
from fleetclient.cli.session import EXIT_ERROR, EXIT_OK, Session
from fleetclient.cli.work import make_policy
from fleetclient.clock import boot_seconds, wall_seconds
from fleetclient.config import Config
from fleetclient.identity import Identity
from fleetclient.words import say_seconds

if TYPE_CHECKING:
    from fleetclient.trust.gate import TrustGate
    from fleetclient.update.updater import Updater


def check(session: Session) -> int:
    """Look for a release, and say whether this car takes it."""
    config = session.require_server().config
    with counted_policy(session, config, is_alone=False) as policy:
        gate = make_gate(session, config, policy)
        is_fresh = gate.refresh()
    choice = _updater(session, config, gate).check()
    document = {**asdict(choice), "is_wanted": choice.is_wanted, "is_fresh": is_fresh, "error": gate.last_error}
    text = f"Version {choice.version} is on offer for this car." if choice.is_wanted else f"No update: {choice.reason}."
    session.show(document, text if is_fresh else f"{text}\nThe look failed: {why_not(gate)}")
    return EXIT_OK if is_fresh else EXIT_ERROR


def apply(session: Session) -> int:
    """Install the release that is on offer; the next start of the service tries it, and takes it back if it fails."""
    config = session.require_server().config
    # A running agent installs releases by itself, when it has no work: two at it would be one too many.
    session.state.lock()
    with counted_policy(session, config, is_alone=True) as policy:
        gate = make_gate(session, config, policy)
        if not gate.refresh():
            session.show({"applied": "", "error": why_not(gate)}, f"The look failed: {why_not(gate)}")
            return EXIT_ERROR
        updater = _updater(session, config, gate)
        version = updater.prepare(boot_seconds())
    if not version:
        reason = updater.check().reason
        session.show({"applied": "", "reason": reason}, f"No update: {reason}.")
        return EXIT_OK
    updater.switch()
    session.show({"applied": version}, f"Version {version} is tried at the next start of the service.")
    return EXIT_OK


def show_trust(session: Session) -> int:
    """Print the root's fingerprint and until when the fleet's signed word holds, from the last look."""
    gate = make_gate(session, session.config, make_policy(session.config))
    verdict, reason = gate.verdict, gate.stop_reason()
    document: dict[str, Any] = {
        "mode": session.config.trust.mode,
        "root_sha256": gate.root_fingerprint,
        "checked_at": verdict.checked_at or None,
        "valid_until": verdict.valid_until or None,
        "versions": verdict.versions,
        "origins": list(verdict.config.origins),
        "models_listed": sum(model.is_listed for model in verdict.models.values()),
        "stop_reason": reason,
    }
    session.show(document, _trust_text(document))
    return EXIT_OK


def _trust_text(document: dict[str, Any]) -> str:
    if document["mode"] == "off":
        return "Trust is off: this simulation believes its server."
    if document["checked_at"] is None:
        return "The fleet's signed metadata has not been read yet."
    until = datetime.fromtimestamp(document["valid_until"], UTC)
    left = document["valid_until"] - wall_seconds()
    lines = [
        f"Root fingerprint: {document['root_sha256']}   (compare it with the operator's)",
        f"Valid until:      {until:%Y-%m-%d %H:%M} UTC" + (f" ({say_seconds(left)})" if left > 0 else " (over)"),
        f"Origins:          {', '.join(document['origins']) or 'not said'}",
        f"Models known:     {document['models_listed']}",
    ]
    return "\n".join([*lines, f"Stopped: {document['stop_reason']}"] if document["stop_reason"] else lines)


def _updater(session: Session, config: Config, gate: TrustGate) -> Updater:
    from fleetclient.update.updater import Updater

    identity = Identity(session.state.identity)
    return Updater(
        options=config.update, state_dir=session.state.folder, vehicle_id=identity.vehicle_id or "", releases=gate
    )
