"""The command line: names, options and help texts. The reference page of the commands is made from this parser."""

from __future__ import annotations

import argparse
from pathlib import Path

from fleetclient import __version__

SALT_BYTES_MAX = 64
_EPILOG = "Without --config: /etc/fleetcompute/client.toml, else ~/.config/fleetcompute/client.toml."


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = argparse.ArgumentParser(prog="fleetclient", description="Lets a parked car compute for FleetCompute.")
    parser.add_argument("--version", action="version", version=f"fleetclient {__version__}")
    commands = _Commands(parser)
    _add_work(commands)
    _add_control(commands)
    _add_looking(commands)
    _add_upkeep(commands)
    _add_anchor(commands)
    return parser


class _Commands:
    """A level of commands: the top, or those of `rules` and `config`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(self, name: str, function: str, text: str, *, json: bool = False) -> argparse.ArgumentParser:
        """Add a command that `function` ("module:name") answers."""
        command = self._subparsers.add_parser(name, help=text, description=_sentence(text), epilog=_EPILOG)
        command.set_defaults(function=function)
        command.add_argument(
            "--config", type=Path, metavar="FILE", help="the configuration (TOML); no other file is read"
        )
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, such as limits.replicas=4"
        )
        if json:
            command.add_argument("--json", action="store_true", help="print one JSON object")
        return command

    def group(self, name: str, text: str) -> _Commands:
        """Add a command that only has commands of its own."""
        return _Commands(self._subparsers.add_parser(name, help=text, description=_sentence(text)))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _add_work(commands: _Commands) -> None:
    run = commands.add("run", "work:run", "work until told to stop; pairs the car first if it is not paired")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="how much to log")
    run.add_argument("--log-format", choices=("json", "text"), help="one JSON object a line, or lines for people")
    commands.add("pair", "work:pair", "show a code and wait until the owner has approved it")
    commands.add("rotate-key", "rotation:rotate_key", "give this car a new key, while no agent runs", json=True)
    unpair = commands.add("unpair", "work:unpair", "leave the fleet and forget this car's identity", json=True)
    unpair.add_argument(
        "--wipe", action="store_true", help="also remove journal, results, models and usage from this car"
    )
    unpair.add_argument("--yes", action="store_true", help="do not ask")


def _add_control(commands: _Commands) -> None:
    status = commands.add("status", "control:status", "say what the car is doing", json=True)
    status.add_argument("--watch", action="store_true", help="go on until Ctrl-C, saying what changes")
    pause = commands.add("pause", "control:pause", "stop work at once, for a time or until resumed", json=True)
    pause.add_argument(
        "for_how_long",
        nargs="*",
        metavar="TIME",
        help="30m, 1h30m, until 07:00 (the car's time zone), or forever (default)",
    )
    commands.add("resume", "control:resume", "end a pause, and take work again after finish", json=True)
    commands.add("finish", "control:finish", "finish the work that is held, then take no more until resume", json=True)
    commands.add("stop-now", "control:stop_now", "stop at once, hand the work back, stay so until resume", json=True)


def _add_looking(commands: _Commands) -> None:
    rules = commands.group("rules", "the owner's rules")
    rules.add("show", "rules:show", "print the rules in force", json=True)
    rules.add("explain", "rules:explain", "say of every rule whether it lets the car work now, and why", json=True)
    history = commands.add("history", "records:history", "print what the car has done, day by day", json=True)
    history.add_argument("--days", type=_count, default=14, metavar="N", help="how many days (default 14)")
    commands.add("data", "records:data", "show the last message this car sent, field by field", json=True)
    simulate = commands.add(
        "simulate", "simulate:simulate", "say how many hours the rules would give, without a server", json=True
    )
    simulate.add_argument("--days", type=_count, default=14, metavar="N", help="how many days (default 14)")
    simulate.add_argument("--seed", type=int, default=1, metavar="N", help="another seed is another driver (default 1)")
    simulate.add_argument(
        "--start", default="", metavar="DATE", help="the first day, such as 2026-01-05 (default today)"
    )
    simulate.add_argument("--hours", action="store_true", help="also print every hour with its reason")
    config = commands.group("config", "the configuration")
    show = config.add("show", "configuration:show", "print every value", json=True)
    show.add_argument("--origin", action="store_true", help="also say where each value was set")


def _add_upkeep(commands: _Commands) -> None:
    commands.add(
        "doctor", "upkeep:doctor", "check everything this car needs, and say how to mend what fails", json=True
    )
    commands.add(
        "selftest", "upkeep:selftest", "run three small models, check their results and measure the speed", json=True
    )
    bundle = commands.add(
        "support-bundle", "upkeep:support_bundle", "pack what a helper needs into a file, without secrets"
    )
    bundle.add_argument("--output", type=Path, metavar="FILE", help="the zip file (default: in this folder)")
    bundle.add_argument("--yes", action="store_true", help="do not ask")
    install = commands.add(
        "install-service", "upkeep:install_service", "write the systemd unit that starts this car's agent"
    )
    scope = install.add_mutually_exclusive_group()
    scope.add_argument("--user", action="store_true", help="for this user (the default unless run by root)")
    scope.add_argument("--system", action="store_true", help="for the whole machine, under a user of its own")
    install.add_argument("--print", action="store_true", dest="only_print", help="print the unit and write nothing")
    update = commands.group("update", "signed releases of this client")
    update.add("check", "releases:check", "look for a release and say whether this car takes it", json=True)
    update.add("apply", "releases:apply", "install the release on offer while no agent runs", json=True)
    trust = commands.group("trust", "whose signatures this car believes")
    trust.add(
        "show", "releases:show_trust", "print the root's fingerprint and until when the fleet's word holds", json=True
    )


def _add_anchor(commands: _Commands) -> None:
    anchor = commands.group("anchor", "an operator's machine that runs units again; no car needs it")
    anchor.add("check", "anchor:check", "say in which class this machine computes, if its walls hold", json=True)
    run = anchor.add("run", "anchor:run", "run one unit as a car would, and print one JSON object")
    files = (
        ("contract", "the unit's contract, as in an answer to a sync"),
        ("model", "the ONNX file that the contract names"),
        ("input", "the unit's input rows (safetensors)"),
        ("output", "where the output goes (safetensors)"),
    )
    for name, text in files:
        run.add_argument(f"--{name}", type=Path, metavar="FILE", required=True, help=text)
    run.add_argument("--rows", type=int, metavar="N", required=True, help="how many rows the input has")
    run.add_argument(
        "--salt", type=_salt, default="", metavar="HEX", help="the salt of the digest and the sketch (default: none)"
    )


def _salt(text: str) -> str:
    if len(bytes.fromhex(text)) > SALT_BYTES_MAX:
        raise argparse.ArgumentTypeError(f"must have at most {SALT_BYTES_MAX} bytes")
    return text


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 400:
        raise argparse.ArgumentTypeError(f"must be from 1 to 400, not {number}")
    return number
