"""`python -m fleetclient` is the `fleetclient` command."""

from __future__ import annotations

from fleetclient.cli import main

raise SystemExit(main())
