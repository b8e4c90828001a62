"""Thousands of hostile models against both sandboxes: the server's examination, and the car's walls handed them anyway.

Each model is made from a seed, examined by the server's own code and loaded and run by the client's own code, each in
a child that a prepared process forks and the real walls enclose. An error is a model that got through where it should
not: a wall that was breached, a limit that was passed, a secret that was read, a report that is not true.
"""

from __future__ import annotations

import argparse
import os

from bench.hostile.campaign import Campaign


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--models", type=int, default=500, help="hostile models to make")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other random models")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="models at a time")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Run the corpus and return counts; `errors` must be 0."""
    return Campaign(models=options.models, seed=options.seed, workers=options.workers).run().figures()
