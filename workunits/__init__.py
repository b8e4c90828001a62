"""The engine: cuts datasets into work units, leases them to vehicles, judges what comes back, credits owners.

It knows no HTTP. Layers, top to bottom: `tasks` > `pipeline` > `selectors` > `store` > `sql` > `models` > `domain`.
"""
