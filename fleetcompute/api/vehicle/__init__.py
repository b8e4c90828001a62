"""The vehicle wire, server side: `docs/reference/vehicle-wire.md`. Cars poll; nothing here knows of sessions or cookies."""
