"""The walls around strangers' models, really put up and really tried, in a child process."""

from __future__ import annotations

from collections.abc import Iterator

from fleetclient.doctor.context import Context
from fleetclient.doctor.report import Line, fail, ok, warn
from fleetclient.runner.confinement import WALLS
from fleetclient.runner.probes import run_probes
from fleetclient.runner.walls import check_walls

NEWER = "a newer kernel has it; work is confined by the other walls until then"
MENDS = {
    "cgroup": "run the agent as the service of `fleetclient install-service`, which has a control group of its own",
    "namespaces": "allow them: sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=1000",
    "landlock": "needs Linux 5.13 or newer, with landlock among the modules of lsm= on the kernel's command line",
}


def check_sandbox(context: Context) -> Iterator[Line]:
    """Find out whether the walls stand, and whether everything that a model might try is refused."""
    config = context.config
    if config is None:
        return
    walls = check_walls(config.sandbox)
    if walls.reason_refused:
        yield fail("walls", walls.reason_refused, "until that is mended this car takes no work")
        return
    missing = [name for name, holds in walls.walls.items() if not holds]
    standing = ", ".join(name for name, holds in walls.walls.items() if holds)
    yield ok("walls", standing)
    for name in missing:
        yield warn("wall", f"{name} is not to be had here: {WALLS.get(name, name)}", MENDS.get(name, NEWER))
    yield from _try(context)


def _try(context: Context) -> Iterator[Line]:
    config = context.config
    key = config.state_dir / "identity" / "key" if config is not None else None
    report = run_probes(config.sandbox if config else None, secret=key if key is not None and key.exists() else None)
    if report.reason_refused:
        yield fail("probes", report.reason_refused, "until that is mended this car takes no work")
        return
    for outcome in report.allowed:
        mend = "do not let this car work; report it with `fleetclient support-bundle`"
        yield fail("probe", f"a model could {outcome.what} ({outcome.how})", mend)
    if report.all_denied:
        yield ok("probes", f"{len(report.outcomes)} forbidden things were tried, and all were refused")
