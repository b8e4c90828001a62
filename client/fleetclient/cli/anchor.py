"""`anchor check`, `anchor run`: this machine as an anchor, which runs units again for its operator.

An anchor is no car: it is not paired and asks no server. Its installation's server starts `anchor run` with files and
reads one JSON object: `outcome` "done", or "failed" with a reason of the wire, which is the unit's or the model's
fault. Where nothing is printed the machine is at fault: a missing wall, a file that cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from fleetclient.cli.session import EXIT_ERROR, EXIT_OK, Session
from fleetclient.errors import ClientError

TOKEN = "anchor"  # noqa: S105 - the name of the one unit, as a car names its own


class AnchorUnfit(ClientError):
    """This machine cannot run units as a car would."""

    code: ClassVar[str] = "anchor_unfit"


def check(session: Session) -> int:
    """Say in which class this machine computes; refuses where a wall is missing or the self-test fails."""
    walls = _require_walls(session)
    name = _require_class(session)
    held = ", ".join(sorted(wall for wall, holds in walls.items() if holds))
    session.show({"class": name, "walls": walls}, f"class: {name}\nwalls: {held}")
    return EXIT_OK


def run(session: Session) -> int:
    """Run one unit as a car would and write its output document."""
    from fleetclient.runner.jobs import UnitDone

    _end_with_parent()
    options = session.options
    _require_walls(session)
    ended = _run(session)
    if not isinstance(ended, UnitDone):
        _print({"outcome": "failed", "reason": ended.reason, "detail": ended.detail})
        return EXIT_ERROR
    _print(
        {
            "outcome": "done",
            "sha256": hashlib.sha256(options.output.read_bytes()).hexdigest(),
            "bytes": ended.output_bytes,
            "digest": ended.digest,
            "sketch": ended.sketch or None,
            "class": _read_class(session),
            "seconds": round(ended.cpu_seconds, 3),
        }
    )
    return EXIT_OK


def _run(session: Session) -> Any:
    from fleetclient.runner.jobs import Job, RunnerSettings
    from fleetclient.runner.once import run_once
    from fleetclient.wire.contract import read_contract

    options, config = session.options, session.config
    try:
        contract = read_contract(json.loads(options.contract.read_bytes()))
        document = options.input.read_bytes()
    except (OSError, ValueError) as error:
        raise AnchorUnfit(f"what was given cannot be read: {error}") from None
    settings = RunnerSettings(
        model_path=options.model.absolute(),
        contract=contract,
        memory_bytes=contract.limits.memory_bytes,
        sandbox=config.sandbox,
        # Nobody drives this machine: a run that waits behind everything else would end at its time limit.
        walls_off=("idle_priority",),
    )
    job = Job(
        token=TOKEN,
        rows=options.rows,
        salt=options.salt,
        input_digest=hashlib.sha256(document).hexdigest(),
        input_path=options.input.absolute(),
        output_path=options.output.absolute(),
    )
    # Beside the output, so that whoever clears up after a kill finds all of it in one place.
    with tempfile.TemporaryDirectory(prefix="runner-", dir=job.output_path.parent) as folder:
        return run_once(settings, job, folder=Path(folder))


def _require_walls(session: Session) -> dict[str, bool]:
    from fleetclient.runner.walls import check_walls

    report = check_walls(session.config.sandbox)
    if report.reason_refused:
        raise AnchorUnfit(f"no model is run without its walls: {report.reason_refused}")
    return report.walls


def _require_class(session: Session) -> str:
    """Return the class by a self-test that holds, making it where it is due."""
    from fleetclient.selftest.course import run_selftest
    from fleetclient.selftest.report import needs_run, read_report

    state = session.config.state_dir
    report = run_selftest(state, sandbox=session.config.sandbox) if needs_run(state) else read_report(state)
    if report is None or report.failure:
        raise AnchorUnfit(f"the self-test failed: {report.failure if report else 'its report has gone'}")
    return report.comparison_class


def _read_class(session: Session) -> str:
    from fleetclient.machine import describe_agent

    return describe_agent(session.config.state_dir).comparison_class


def _end_with_parent() -> None:
    """Do not outlive who started this: the run would go on for nobody, and its files are gone."""
    from fleetclient.runner.linux import die_with_parent

    parent = os.getppid()
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the kernel was told
        raise AnchorUnfit("whoever started this run has gone")


def _print(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)
