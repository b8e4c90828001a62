"""The short-lived process that looks at the repository: one JSON request on standard input, one JSON line out.

python-tuf and what it imports weigh more than the whole idle agent, so they live here and for about a second.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fleetclient.errors import ClientError
from fleetclient.netpolicy.options import NetworkOptions
from fleetclient.netpolicy.policy import NetworkPolicy
from fleetclient.trust.fetcher import RepositoryFetcher
from fleetclient.trust.look import LookRequest
from fleetclient.trust.repository import Repository, TrustProblem
from fleetclient.trust.tally import Tally


def main() -> int:
    """Look once and print what was found; the exit status is 0 whenever there is an answer."""
    members: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    request = LookRequest(**{**members, "models": tuple(members["models"])})
    tally = Tally(sent_before=request.bytes_sent_today, moved_before=request.bytes_moved_today)
    answer: dict[str, Any] = {"error": None, "verdict": None, "downloaded": ""}
    try:
        fetcher = RepositoryFetcher(request.origin, _make_policy(request, tally), seconds_max=request.seconds_max)
        found = Repository(request, fetcher).look()
        answer |= {"verdict": asdict(found.verdict), "downloaded": found.downloaded}
    except TrustProblem as problem:
        answer["error"] = {"code": problem.code, "detail": str(problem)[:600], "is_stopped": problem.is_stopped}
    except ClientError as error:  # options that cannot be used here, such as a file of certificates that has gone
        answer["error"] = {"code": error.code, "detail": str(error)[:600], "is_stopped": False}
    answer |= {"bytes_sent": tally.sent, "bytes_received": tally.received}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _make_policy(request: LookRequest, tally: Tally) -> NetworkPolicy:
    """Return what holds for this look: the owner's options, and what is left of the day's bytes.

    Where networks are named the policy looks for itself where this computer is. The signed list of servers is left
    out: a fleet that names a wrong one could otherwise never be heard again, and nothing but these files comes here.
    """
    members: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in request.network.items()
    }
    return NetworkPolicy(
        options=NetworkOptions(**members),
        folder=Path(request.config_folder),
        meter=tally,
        signed_egress_bytes=lambda: request.egress_bytes_per_day,
    )


if __name__ == "__main__":
    sys.exit(main())
