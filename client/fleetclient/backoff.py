"""How long to wait after a failure: full jitter, so that a fleet does not come back in step."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

BASE_SECONDS = 2.0
CAP_SECONDS = 15 * 60.0
# From so many failures in a row on it is an outage, from which a whole fleet comes back at once.
OUTAGE_FAILURES = 3
RETRY_AFTER_SECONDS_MAX = 24 * 3600.0


@dataclass
class Backoff:
    """Counts failures in a row; the wait is `random(0, min(cap, base * 2^n))`, or what the server asked for."""

    base_seconds: float = BASE_SECONDS
    cap_seconds: float = CAP_SECONDS
    failures: int = 0
    random: random.Random = field(default_factory=random.Random)

    def failed(self, retry_after_seconds: float | None = None, *, spread_seconds: float = 0.0) -> float:
        """Return the seconds to wait after one more failure. `Retry-After` is a floor, the jitter comes on top.

        `spread_seconds` is the usual time between two calls: after an outage the next one is anywhere within it, so
        that the fleet comes back as evenly as it called before.
        """
        ceiling = self.base_seconds * 2.0 ** min(self.failures, 30)
        self.failures += 1
        if self.failures >= OUTAGE_FAILURES:
            ceiling = max(ceiling, spread_seconds)
        jitter = self.random.uniform(0.0, min(self.cap_seconds, ceiling))
        if retry_after_seconds is None:
            return jitter
        return min(retry_after_seconds, RETRY_AFTER_SECONDS_MAX) + min(jitter, self.base_seconds)

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
