"""The command `fleetclient`. Each command is a function in a module of this package, imported only when it is called.

Exit status: 0 done, 1 failed or refused, 2 the command line cannot be understood, 3 this car was removed from the
fleet, 4 no agent is running where one is needed. `--json` prints one JSON object and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from fleetclient.cli.parser import make_parser
from fleetclient.cli.session import Session
from fleetclient.errors import ClientError

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = make_parser().parse_args(arguments)
    module, _, name = options.function.partition(":")
    function: Callable[[Session], int] = getattr(import_module(f"fleetclient.cli.{module}"), name)
    try:
        return function(Session(options))
    except ClientError as error:
        print(f"fleetclient: {error}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:
        # The reader (`| head`) has gone. Python would complain once more when it flushes at the end.
        sys.stderr.close()
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
