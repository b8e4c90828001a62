"""`fleetclient doctor`: checks everything that this car needs, before pairing and without a server as well.

Each check is a generator of lines in one of the `check_*` modules, and says of every failure how to mend it. It looks
and asks; it changes nothing, and sends nothing on a network that the owner has not allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fleetclient.config import Request
from fleetclient.doctor import (
    check_agent,
    check_car,
    check_files,
    check_machine,
    check_sandbox,
    check_server,
    check_trust,
)
from fleetclient.doctor.context import Context, open_context
from fleetclient.doctor.report import Line, Report, fail

Check = Callable[[Context], Iterator[Line]]

CHECKS: dict[str, Check] = {
    "python": check_machine.check_python,
    "runtime": check_machine.check_runtime,
    "configuration": check_files.check_configuration,
    "state folder": check_files.check_state,
    "identity": check_files.check_identity,
    "disk": check_machine.check_disk,
    "memory": check_machine.check_memory,
    "clock": check_machine.check_clock,
    "network": check_server.check_network,
    "server": check_server.check_server,
    "trust": check_trust.check_trust,
    "car": check_car.check_source,
    "rules": check_car.check_rules,
    "sandbox": check_sandbox.check_sandbox,
    "self-test": check_agent.check_selftest,
    "agent": check_agent.check_agent,
}


def examine(request: Request) -> Report:
    """Return the report of all checks; takes some seconds."""
    context = open_context(request)
    return Report(lines=[line for name, check in CHECKS.items() for line in _run(name, check, context)])


def _run(name: str, check: Check, context: Context) -> Iterator[Line]:
    try:
        yield from check(context)
    except Exception as error:  # noqa: BLE001 - the edge of a check: one that breaks must not hide the others
        mend = "this is a fault of the doctor itself; please report it with `fleetclient support-bundle`"
        yield fail(name, f"the check broke: {type(error).__name__}: {error}", mend)
