"""The short-lived process that looks at the repository: one JSON request on standard input, one JSON line out.

python-tuf and what it imports weigh more than the whole idle agent, so they live here and for about a second.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from fleetclient.trust.fetcher import RepositoryFetcher
from fleetclient.trust.look import LookRequest
from fleetclient.trust.repository import Repository, TrustProblem


def main() -> int:
    """Look once and print what was found; the exit status is 0 whenever there is an answer."""
    members: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    request = LookRequest(**{**members, "models": tuple(members["models"])})
    fetcher = RepositoryFetcher(request.origin, proxy=request.proxy)
    answer: dict[str, Any] = {"error": None, "verdict": None, "downloaded": ""}
    try:
        found = Repository(request, fetcher).look()
        answer |= {"verdict": asdict(found.verdict), "downloaded": found.downloaded}
    except TrustProblem as problem:
        answer["error"] = {"code": problem.code, "detail": str(problem)[:600], "is_stopped": problem.is_stopped}
    answer |= {"bytes_sent": fetcher.bytes_sent, "bytes_received": fetcher.bytes_received}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
