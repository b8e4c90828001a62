"""The command `fleetclient`: run, pair, status."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fleetclient import __version__
from fleetclient.clock import wall_seconds
from fleetclient.config import Config, load_config
from fleetclient.errors import ClientError
from fleetclient.state import StateFolder

EXIT_ERROR = 1
STALE_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        status: int = options.command(config, options)
        return status
    except ClientError as error:
        print(f"fleetclient: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fleetclient", description="Lets a parked car compute for FleetCompute.")
    parser.add_argument("--version", action="version", version=f"fleetclient {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("run", _run, "work until told to stop; pairs the car first if it is not paired"),
        ("pair", _pair, "show a code and wait until the owner has approved it"),
        ("status", _status, "say what the car is doing"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration (TOML)")
        command.set_defaults(command=function)
        if name == "status":
            command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _run(config: Config, _: argparse.Namespace) -> int:
    from fleetclient.agent.service import run

    return run(config)


def _pair(config: Config, _: argparse.Namespace) -> int:
    from fleetclient.identity import Identity
    from fleetclient.network import Network
    from fleetclient.pairing import pair

    state = StateFolder(config.state_dir)
    state.lock()
    identity = Identity(state.identity)
    if identity.vehicle_id is not None:
        print(json.dumps({"event": "paired", "vehicle_id": identity.vehicle_id}))
        return 0
    network = Network(origin=config.server, identity=identity)
    pair(network=network, identity=identity, name=config.name, out=sys.stdout, sleep=time.sleep)
    return 0


def _status(config: Config, options: argparse.Namespace) -> int:
    state = StateFolder(config.state_dir)
    status = state.read_status()
    status["running"] = bool(status) and not status.get("stopped") and _age_seconds(status) < STALE_SECONDS
    print(json.dumps(status) if options.json else _sentence(status))
    return 0


def _age_seconds(status: dict[str, object]) -> float:
    return wall_seconds() - float(str(status.get("at", 0.0)))


def _sentence(status: dict[str, object]) -> str:
    if not status["running"]:
        return "The agent is not running."
    if not status["eligible"]:
        return f"The car is not available: {', '.join(map(str, status['reasons']))}."  # type: ignore[call-overload]
    if status["rows"] is not None:
        return f"Working: row {status['rows_done']} of {status['rows']}; {status['completed']} units finished."
    where = "" if status["online"] else " The server cannot be reached."
    return f"Waiting for work; {status['completed']} units finished.{where}"
