"""The one place where the server's secret random numbers are exchanged for seeded ones, so that a run can be repeated.

Production has no such switch: these are names of modules, replaced for as long as a benchmark runs in this process.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from unittest import mock


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw audits, places, delays and the order of leases from a seed."""
    source = random.Random(seed)
    with (
        mock.patch("workunits.pipeline.draws._random", source),
        mock.patch("workunits.pipeline.dispatch._shuffle", source.shuffle),
        mock.patch("workunits.pipeline.drain._random", source.random),
        mock.patch("workunits.pipeline.trust._random", source.random),
    ):
        yield
