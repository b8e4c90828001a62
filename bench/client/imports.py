"""What the agent's imports weigh: each top-level package with its time and what it adds to a fresh process's memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

ENTRY: Final = "fleetclient.agent.service"
_IMPORTS: Final = 12
# Imported one after the other, in this order, so that what several share counts for the first.
_LAYERS: Final = (
    "json", "dataclasses", "subprocess", "tomllib", "zoneinfo", "sqlite3", "ssl", "http.client", "http.server",
    "cryptography.hazmat.primitives.asymmetric.ed25519", "urllib3", "requests", "paho.mqtt.client", ENTRY,
)  # fmt: skip


def import_times() -> list[dict[str, object]]:
    """Return the top-level packages that the agent imports, the slowest first: own milliseconds, modules."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {ENTRY}"], capture_output=True, text=True, check=True
    )
    seconds: dict[str, float] = {}
    counts: dict[str, int] = {}
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():
            package = ".".join(parts[2].strip().split(".")[:1])
            seconds[package] = seconds.get(package, 0.0) + int(parts[0]) / 1000.0
            counts[package] = counts.get(package, 0) + 1
    ranked = sorted(seconds, key=lambda package: -seconds[package])[:_IMPORTS]
    return [{"package": name, "own_ms": round(seconds[name], 1), "modules": counts[name]} for name in ranked]


def import_weights() -> list[dict[str, object]]:
    """Return what each layer of the agent's imports adds to anonymous memory, in megabytes; only what it imports."""
    code = f"""
import importlib, json, subprocess, sys
entry, layers = {ENTRY!r}, {_LAYERS!r}
listing = "import sys, json; import " + entry + "; print(json.dumps(sorted(sys.modules)))"
needed = set(json.loads(subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True).stdout))
def held():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss_Anon:")) * 1024 / 1e6
at_start = last = held()
found = [["python", round(at_start, 2)]]
for layer in layers:
    if layer in needed:
        importlib.import_module(layer)
        now = held()
        found.append([layer, round(now - last, 2)])
        last = now
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [{"layer": layer, "adds_mb": adds} for layer, adds in json.loads(done.stdout)]
