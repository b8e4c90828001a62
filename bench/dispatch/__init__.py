"""`dispatch`: how many replicas a second go through the whole cycle, over the real HTTP API.

Simulated cars report what they were given and ask for more: leased, returned inline, checked, validated, credited and
settled in the ledger. The server is the embedded one with a home of its own and a disk that is waited for.
"""

from __future__ import annotations

from bench.dispatch.course import run
from bench.dispatch.options import add_arguments

__all__ = ["add_arguments", "run"]
