"""From the owner's options to the one source that speaks for the car."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

from fleetclient.vehicle.assumed import AssumingSource
from fleetclient.vehicle.options import VehicleOptions
from fleetclient.vehicle.source import SignalSource


def make_source(options: VehicleOptions, *, folder: Path, began_at: float) -> SignalSource:
    """Return the source that the options ask for, not yet started; relative paths are in `folder`.

    `began_at`: seconds on the boot clock from which a script or a simulated life counts. Each source is imported only
    when it is asked for. Every source also has `problem`: a sentence on why it says nothing, or empty.
    """
    source = _make_silent() if options.source == "none" else _make(options, folder, began_at)
    return AssumingSource(source, options.assume_no) if options.assume_no else source


def _make(options: VehicleOptions, folder: Path, began_at: float) -> SignalSource:
    if options.source == "file":
        return _make_file(options, folder)
    if options.source == "teslamate":
        from fleetclient.vehicle.teslamate import TeslamateSource

        return TeslamateSource(options.teslamate, folder=folder)
    if options.source == "mqtt":
        from fleetclient.vehicle.mqtt import MqttSource

        return MqttSource(options.mqtt, folder=folder)
    if options.source == "can":
        from fleetclient.vehicle.can_bus import CanSource

        return CanSource(options.can, folder=folder)
    if options.source == "simulated" and options.simulation.seed:
        return _make_life(options, began_at)
    return _make_scripted(options, folder, began_at)


def _make_silent() -> SignalSource:
    from fleetclient.vehicle.silent import SilentSource

    return SilentSource()


def _make_file(options: VehicleOptions, folder: Path) -> SignalSource:
    from fleetclient.vehicle.file import FileSource, StreamSource

    if options.file.stdin:
        return StreamSource(sys.stdin.fileno())
    return FileSource(folder / options.file.document_file, poll_seconds=options.file.poll_seconds)


def _make_life(options: VehicleOptions, began_at: float) -> SignalSource:
    from fleetclient.vehicle.mobility import SimulatedSource

    # Local time on purpose: a life follows the car's own clock.
    start = datetime.fromisoformat(options.simulation.start) if options.simulation.start else datetime.now()  # noqa: DTZ005
    return SimulatedSource(options.simulation, began_at=began_at, start=start)


def _make_scripted(options: VehicleOptions, folder: Path, began_at: float) -> SignalSource:
    from fleetclient.vehicle.scripted import ScriptedSource

    return ScriptedSource(
        began_at=began_at,
        away=options.away,
        away_reason=options.away_reason,
        away_file=folder / options.away_file if options.away_file else None,
        start_delay_seconds=options.start_delay_seconds,
    )
