"""What a run over HTTP can be asked for."""

from __future__ import annotations

import argparse
import dataclasses
import json

from bench.trust.http.scenarios import get_scenarios, list_names


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HttpOptions:
    """One run of one or more scenarios.

    Attributes:
        scenarios: their names; empty for all.
        cars: how many, each of an owner of its own.
        units_per_car: how many units there are for each car.
        units_per_call: how many a car carries at a time.
        unit_seconds: how long one takes a car, in virtual time. An audit that no car settles in hours is an anchor's,
            so a car should be back well before.
        days_max: after so many virtual days a run ends, whatever is unfinished.
        tick_seconds: how often the periodic tasks run, in virtual time, where beat would run them more often.
        anchors: whether an operator's machine is there.
        inline: whether outputs travel inside the sync; else cars commit to them and upload what they are asked for.
        seed: of cars, their lies and their pace, and of the server's draws.
    """

    scenarios: tuple[str, ...] = ()
    cars: int = 100
    units_per_car: int = 100
    units_per_call: int = 2
    unit_seconds: float = 1200.0
    days_max: float = 40.0
    tick_seconds: float = 900.0
    anchors: bool = True
    inline: bool = True
    seed: int = 1


def read_options(values: argparse.Namespace) -> HttpOptions | None:
    """Return what the command line of `trust` asks for; None where it names a scenario that is not run over HTTP."""
    wanted = values.scenario
    if wanted and wanted not in list_names():
        return None
    names = tuple(scenario.name for scenario in get_scenarios((wanted,) if wanted else ()))
    options = HttpOptions(scenarios=names, seed=values.seed)
    cars, units = (12, 12) if values.quick else (options.cars, options.units_per_car)
    return dataclasses.replace(options, cars=values.cars or cars, units_per_car=values.units or units)


def encode_options(options: HttpOptions) -> str:
    """Return the options as one argument for another process."""
    return json.dumps(dataclasses.asdict(options))


def decode_options(text: str) -> HttpOptions:
    """Return what `encode_options` was given."""
    values = json.loads(text)
    return HttpOptions(**{**values, "scenarios": tuple(values["scenarios"])})
