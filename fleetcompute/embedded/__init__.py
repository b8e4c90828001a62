"""Everything that FleetCompute needs on one machine, started and stopped together.

`Services` runs PostgreSQL and Valkey; `Supervisor` runs these and the web server, the Celery worker and beat.
`python -m fleetcompute.embedded` does the same from a terminal.
"""

from __future__ import annotations

from fleetcompute.embedded.errors import EmbeddedError
from fleetcompute.embedded.handle import Supervisor
from fleetcompute.embedded.services import Services

__all__ = ["EmbeddedError", "Services", "Supervisor"]
