"""`python -m fleetclient.launch COMMAND …`: the client in the version that is current on this car.

What a service starts. `run` is started by the launcher, which tries new versions and takes bad ones back; every other
command simply runs in the version that the agent runs in.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from fleetclient.update.folder import INSTALLED
from fleetclient.update.launcher import Launcher
from fleetclient.update.place import find_state_dir


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Start the client; does not return."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    launcher = Launcher(state_dir=find_state_dir(given), arguments=given)
    if "run" in given[:1]:
        raise SystemExit(launcher.run())
    version = launcher.choose()
    if version != INSTALLED:
        launcher.replace_process(version)
    from fleetclient.cli import main as run_command

    raise SystemExit(run_command(given))


if __name__ == "__main__":
    main()
