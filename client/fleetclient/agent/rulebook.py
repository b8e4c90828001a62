"""The rules that hold now: the owner's own, made stricter by the server's where those are; never looser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetclient.files import write_durably
from fleetclient.logs import Log
from fleetclient.rules.rules import Rules, RulesInvalid, read_rules
from fleetclient.rules.tighten import LOOSEST, tighten


class Rulebook:
    """Keeps the server's last rules in a file, so that they hold from the first moment of the next start too."""

    def __init__(self, *, local: Rules, path: Path, log: Log) -> None:
        self._local = local
        self._path = path
        self._log = log
        self._document = _load(path)
        self.rules = self._join()

    def adopt_local(self, local: Rules) -> None:
        """Take what the owner has just written into the configuration."""
        self._local = local
        self.rules = self._join()

    def adopt_server(self, document: Mapping[str, Any]) -> bool:
        """Take the server's rules and store them; return True when they changed something.

        Rules that cannot be read change nothing: the owner's own hold as before.
        """
        if document == self._document:
            return False
        try:
            read_rules(document, base=LOOSEST)
        except RulesInvalid as error:
            self._log.warning("server_rules_refused", error=str(error))
            return False
        write_durably(self._path, json.dumps(dict(document)).encode())
        before, self._document = self.rules, dict(document)
        self.rules = self._join()
        return self.rules != before

    def _join(self) -> Rules:
        if not self._document:
            return self._local
        try:
            return tighten(self._local, read_rules(self._document, base=LOOSEST))
        except RulesInvalid as error:  # written by a newer version of this client
            self._log.warning("server_rules_refused", error=str(error))
            return self._local


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
