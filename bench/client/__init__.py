"""`client`: what the agent of an idle car costs, and how soon the runner is gone after its last unit.

A real agent as it ships, with TeslaMate's topics on a real broker and a live server that answers its syncs. Memory is
the kernel's proportional share (PSS) of the agent's processes, processor time includes children that have ended.
"""

from __future__ import annotations

from bench.client.course import add_arguments, run

__all__ = ["add_arguments", "run"]
