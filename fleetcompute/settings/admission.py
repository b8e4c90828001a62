"""The admission service: the same database and blobs as the web tier, and none of its keys.

The service that lets models run must not be able to send them, nor the other way round; so this process holds no key
that signs answers to cars, seals tokens or signs sessions, even where they lie in its environment.
"""

from __future__ import annotations

import os
import secrets

# Before the base reads them: keys of this process alone, with which nothing that it might sign means anything.
os.environ["FLEET_DIRECTOR_KEY"] = secrets.token_hex(32)
os.environ["FLEET_TOKEN_KEY"] = secrets.token_hex(16)
os.environ["FLEET_SECRET_KEY"] = secrets.token_hex(32)

from fleetcompute.settings.base import *  # noqa: F403
