"""`efficiency`: rows a second through a live server and one real car, over those of a bare onnxruntime loop.

The same model, rows, batch shape and session options; one thread each. The client (agent and runner) and the bare loop
take turns on one core, the server, its database and everything else have the other, so that a change in what the
shared machine gives falls on both.
"""

from __future__ import annotations

from bench.efficiency.course import add_arguments, run

__all__ = ["add_arguments", "run"]
