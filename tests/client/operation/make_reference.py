"""Writes the client's reference pages from the option classes and from the command's own parser.

Run `python -m tests.client.operation.make_reference` after a change; a test fails while they are behind.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetclient.cli.configuration import plain
from fleetclient.cli.parser import make_parser
from fleetclient.config import Config
from fleetclient.config.layers import variable_of
from fleetclient.config.schema import RULES, list_defaults, list_keys, list_sections
from fleetclient.config.values import describe_type
from fleetclient.rules.settings import Rules

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
_CONFIGURATION = """\
# The client's configuration

<!-- Made by `python -m tests.client.operation.make_reference` from the option classes. Do not edit. -->

A TOML file. One key is enough: `server`. Where a value is looked for, the strongest place first:

1. the command line: `--set KEY=VALUE`, `--log-level`, `--log-format`;
2. the environment: `FLEET_` and the key in capitals, with two underscores for each dot
   (`FLEET_RULES__START_SOC_PCT=80`); `FLEET_LOG` is short for `FLEET_LOG_LEVEL`; lists as TOML writes them, or with
   commas;
3. the file that `--config` names, and then no other file; without it `/etc/fleetcompute/client.toml`, then
   `~/.config/fleetcompute/client.toml` (`XDG_CONFIG_HOME` is obeyed);
4. the defaults below.

The server can make the owner's rules stricter, never looser. `fleetclient config show --origin` says where each value
was set, and `fleetclient rules show` where the server is stricter. `kill -HUP` (or `systemctl reload`) reads rules and
log level anew; everything else needs a new start. An unknown key is an error that suggests the right one. Names of
files and folders are relative to the file they stand in.

Without `state_dir` and `cache_dir`: for a person `~/.local/state/fleetcompute` and `~/.cache/fleetcompute`
(`XDG_STATE_HOME`, `XDG_CACHE_HOME`); for a service, or when the configuration came from `/etc`,
`/var/lib/fleetcompute` and `/var/cache/fleetcompute` (systemd's `STATE_DIRECTORY` and `CACHE_DIRECTORY` win). Whoever
names a `state_dir` gets the cache inside it. The control socket is in the state folder. A file that holds a secret must
have mode 600, or it is refused.
"""
_COMMANDS = """\
# The client's commands

<!-- Made by `python -m tests.client.operation.make_reference` from the command itself. Do not edit. -->

Exit status: 0 done; 1 failed or refused (`doctor`: something has to be mended); 2 the command line cannot be
understood; 3 this car was removed from the fleet (`run`); 4 no agent runs (`status --watch`). With `--json` a command
prints one JSON object and nothing else. `pause`, `resume`, `finish` and `stop-now` act at once on a running agent, and
hold for the next one where none runs; they need no network.
"""


def make_configuration() -> str:
    """Return the page of all keys."""
    parts = [_CONFIGURATION, "\n## At the top of the file\n\n", _describe(Config), _table("", _plain_keys(""))]
    defaults = list_defaults()
    rules = {key: value for key, value in defaults.items() if key.startswith(f"{RULES}.")}
    parts += [f"\n## `[{RULES}]`\n\n", _describe(Rules), _rules_table(rules)]
    for section, kind in list_sections().items():
        keys = _plain_keys(f"{section}.")
        parts += [f"\n## `[{section}]`\n\n", _describe(kind), _table(section, keys) if keys else ""]
    return "".join(parts)


def make_commands() -> str:
    """Return the page of all commands."""
    os.environ["COLUMNS"] = "110"
    parts = [_COMMANDS]
    for name, command in _walk(make_parser()):
        text = re.sub(r"\n{3,}", "\n\n", command.format_help())
        parts.append(f"\n## `fleetclient {name}`\n\n```text\n{text}```\n")
    return "".join(parts)


def _walk(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = parser._subparsers._group_actions if parser._subparsers else []
    for action in groups:
        choices: dict[str, argparse.ArgumentParser] = action.choices  # type: ignore[assignment]
        for name, command in choices.items():
            if command.get_default("function"):
                yield prefix + name, command
            yield from _walk(command, f"{prefix}{name} ")


def _plain_keys(prefix: str) -> list[str]:
    return [key for key in list_keys() if key.startswith(prefix) and "." not in key.removeprefix(prefix)]


def _table(section: str, keys: list[str]) -> str:
    defaults, hints = list_defaults(), list_keys()
    rows = []
    for key in keys:
        name, value = key.removeprefix(f"{section}."), describe_type(hints[key])
        rows.append(f"| `{name}` | {value} | {_show(key, defaults)} | `{variable_of(key)}` |")
    return "\n".join(["| key | value | default | variable |", "|---|---|---|---|", *rows]) + "\n"


def _rules_table(rules: dict[str, Any]) -> str:
    rows = [f"| `{key.removeprefix('rules.')}` | {_show(key, rules)} | `{variable_of(key)}` |" for key in rules]
    return "\n".join(["| key | default | variable |", "|---|---|---|", *rows]) + "\n"


def _show(key: str, defaults: dict[str, Any]) -> str:
    return f"`{json.dumps(plain(defaults[key]), ensure_ascii=False)}`" if key in defaults else "see above"


def _describe(kind: type) -> str:
    """Return a class's docstring as Markdown; a block of attributes becomes a list."""
    text, _, attributes = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")
    items = re.sub(r"\n\s{5,}", " ", attributes)
    bullets = [f"- {line.strip()}" for line in items.splitlines() if line.strip()]
    # What a class says to programmers about itself is in a paragraph of its own.
    text = re.sub(r"\n\nNot keys of the file:.*", "", text, flags=re.DOTALL)
    return text.strip() + "\n\n" + ("\n".join(bullets) + "\n\n" if bullets else "")


def main() -> int:
    """Write both pages."""
    REFERENCE.joinpath("client-configuration.md").write_text(make_configuration(), "utf-8")
    REFERENCE.joinpath("client-commands.md").write_text(make_commands(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
