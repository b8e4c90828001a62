"""Makes the server's copy of the client's rules, and says in what the two may differ.

    python tests/contract/rules/copying.py    # write workunits/domain/owner_rules/ again

Change the client's package, run this, look at the difference, and write the golden cases again if behaviour changed.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "client" / "fleetclient" / "rules"
SIGNALS = ROOT / "client" / "fleetclient" / "vehicle" / "signals.py"
SERVER = ROOT / "workunits" / "domain" / "owner_rules"
# Each side has an error class of its own there.
OWN = "errors.py"
PREFIXES = {
    "fleetclient.rules": "workunits.domain.owner_rules",
    "fleetclient.vehicle.signals": "workunits.domain.owner_rules.signals",
}


def get_copies() -> dict[str, str]:
    """Return the text of each file of the server's package, as the client's files say it must be."""
    copies = {path.name: _translate(path.read_text("utf-8")) for path in sorted(CLIENT.glob("*.py"))}
    copies[SIGNALS.name] = _translate(SIGNALS.read_text("utf-8"))
    del copies[OWN]
    return copies


def _translate(source: str) -> str:
    lines = []
    for line in source.splitlines(keepends=True):
        translated = line
        for client, server in PREFIXES.items():
            if line.startswith(("from ", "import ")):
                translated = translated.replace(client, server)
        lines.append(translated)
    return "".join(lines)


if __name__ == "__main__":
    for name, text in get_copies().items():
        (SERVER / name).write_text(text, "utf-8")
