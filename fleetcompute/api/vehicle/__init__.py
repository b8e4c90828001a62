"""The vehicle wire, server side (`docs/reference/vehicle-wire.md`). Cars poll; there are no sessions or cookies."""
