"""Command line of the demonstration: `python -m bench.demo`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from bench.demo.cast import CARS, PASSWORD, username_of
from bench.demo.settings import SPOILABLE, Options
from fleetcompute.embedded import EmbeddedError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT


def main(arguments: list[str] | None = None) -> int:
    """Run it; 0 when all checks passed, 1 when one failed or the demonstration could not go on."""
    options = _read_options(arguments)
    # Also where a shell has started this in the background, which leaves Ctrl-C ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # Imported late: a mistyped option should not wait for scikit-learn.
    from bench.demo.story import run_demo

    try:
        has_passed = run_demo(options)
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started has ended.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (EmbeddedError, RuntimeError, OSError) as error:
        print(
            f"\nThe demonstration stopped: {error}\nLogs: {options.home}/log and {options.home}/cars", file=sys.stderr
        )
        return EXIT_FAILED
    print(_farewell(options))
    return 0 if has_passed else EXIT_FAILED


def _read_options(arguments: list[str] | None) -> Options:
    known = Options()
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--rows", type=int, help="at most so many rows of each dataset (default: all)")
    parser.add_argument("--home", type=Path, default=known.home, help="folder of data and logs; erased at the start")
    parser.add_argument("--output", type=Path, default=known.output, help="folder of the result files; erased as well")
    parser.add_argument("--spoil", choices=SPOILABLE, help="falsify the evidence of one check, to see that it can fail")
    given = parser.parse_args(arguments)
    return Options(home=given.home.absolute(), output=given.output.absolute(), rows=given.rows, spoil=given.spoil)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _farewell(options: Options) -> str:
    owner = username_of(CARS[0].owner)
    return f"""
Results and this report: {_shorten(options.output)}/
Where to look next: `FLEET_HOME={_shorten(options.home)} make up` serves portal, console and API with the data
of this run. It prints logins; owners sign in as well, for example {owner} with the password {PASSWORD}."""


def _shorten(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
