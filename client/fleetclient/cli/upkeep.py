"""`doctor`, `selftest`, `support-bundle`, `install-service`: looking after the installation."""

from __future__ import annotations

import os
from dataclasses import asdict

from fleetclient.cli.session import EXIT_ERROR, EXIT_OK, Session


def doctor(session: Session) -> int:
    """Check everything; works before pairing and without a server."""
    from fleetclient.doctor import examine
    from fleetclient.doctor.report import render

    report = examine(session.request)
    session.show(report.as_document(), render(report))
    return EXIT_ERROR if report.has_failed else EXIT_OK


def selftest(session: Session) -> int:
    """Run the three small models."""
    from fleetclient.selftest.course import run_selftest

    config = session.config
    report = run_selftest(session.state.folder, sandbox=config.sandbox)
    lines = [
        f"{graph.name:12} {_verdict(graph.passed)}  {graph.rows_per_second:8.1f} rows/s  {graph.detail}"
        for graph in report.graphs
    ]
    lines += ["", f"class: {report.comparison_class}", "passed" if report.passed else f"FAILED: {report.failure}"]
    session.show({**asdict(report), "passed": report.passed}, "\n".join(lines))
    return EXIT_OK if report.passed else EXIT_ERROR


def support_bundle(session: Session) -> int:
    """Pack what helps a helper."""
    from fleetclient.support_bundle import ask_and_write

    return (
        EXIT_OK
        if ask_and_write(session.request, output=session.options.output, yes=session.options.yes)
        else EXIT_ERROR
    )


def install_service(session: Session) -> int:
    """Write the systemd unit."""
    from fleetclient.service.install import list_next_steps, make_unit, unit_path, write_unit

    options = session.options
    is_system = options.system or (os.geteuid() == 0 and not options.user)
    text = make_unit(is_system=is_system, config=options.config)
    if options.only_print:
        print(text, end="")
        return EXIT_OK
    path = unit_path(is_system=is_system)
    write_unit(text, path)
    print(f"Written: {path}\n\nNow run:")
    for step in list_next_steps(is_system=is_system, has_config=bool(options.config or session.loaded.files)):
        print(f"  {step}")
    return EXIT_OK


def _verdict(passed: bool) -> str:  # noqa: FBT001
    return "ok  " if passed else "FAIL"
