"""`preempt`: how soon the car's computer is free when the car is needed, and how soon the server knows.

A real client computes while both cores have other work; TeslaMate publishes that somebody shifts, opens a door, pulls
the plug; the runner's processes are watched from outside until each is stopped or gone. Then the server's database is
watched until it has recorded that the work came back. At least 200 times, with all kinds of signals.
"""

from __future__ import annotations

from bench.preempt.course import add_arguments, run

__all__ = ["add_arguments", "run"]
