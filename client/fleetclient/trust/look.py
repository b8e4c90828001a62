"""One look at the repository: a child process with a time limit, one JSON line in and one out."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from fleetclient.errors import ClientError
from fleetclient.trust.verdict import Verdict, VerdictUnreadable

LOOK_SECONDS_MAX = 120.0
# A release is some hundred kilobytes; a slow line may take its time, an endless one may not.
DOWNLOAD_SECONDS_MAX = 900.0
# The child ends itself in time, and then can say what it has cost; one that hangs is ended after so long.
OVERTIME_SECONDS = 60.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024


class LookFailed(ClientError):
    """The repository could not be read, or what it says cannot be believed; `code` says which.

    `is_stopped`: the fleet's newest signed timestamp has expired, so the fleet is stopped.
    """

    code: ClassVar[str] = "trust_failed"
    retryable: ClassVar[bool] = True

    def __init__(
        self, code: str, detail: str, *, is_stopped: bool = False, bytes_sent: int = 0, bytes_received: int = 0
    ) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]  # this error carries the child's code
        self.is_stopped = is_stopped
        self.bytes_sent = bytes_sent
        self.bytes_received = bytes_received


@dataclass(frozen=True, kw_only=True)
class LookRequest:
    """What the child is asked. `not_before` is Unix time that has passed; `download` names a release, or is empty.

    `network` has the members of `NetworkOptions`, whose relative paths begin in `config_folder`. The day has already
    cost `bytes_sent_today` and `bytes_moved_today`; the fleet's signed configuration allows `egress_bytes_per_day`
    (0: it does not say). The look may take `seconds_max`.
    """

    origin: str
    folder: str
    root_file: str = ""
    root_sha256: str = ""
    not_before: float = 0.0
    models: tuple[str, ...] = ()
    download: str = ""
    network: dict[str, Any] = field(default_factory=dict)
    config_folder: str = ""
    bytes_sent_today: int = 0
    bytes_moved_today: int = 0
    egress_bytes_per_day: int = 0
    seconds_max: float = LOOK_SECONDS_MAX


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the child found, the bytes it cost, and where a downloaded release lies."""

    verdict: Verdict
    bytes_sent: int = 0
    bytes_received: int = 0
    downloaded: str = ""


def look(request: LookRequest) -> Look:
    """Run `fleetclient.trust.child` to its end. Raises LookFailed."""
    seconds_max = DOWNLOAD_SECONDS_MAX if request.download else LOOK_SECONDS_MAX
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "fleetclient.trust.child"],
            input=json.dumps(asdict(replace(request, seconds_max=seconds_max))).encode(),
            capture_output=True,
            timeout=seconds_max + OVERTIME_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LookFailed("too_slow", f"the repository took more than {seconds_max:.0f} s") from None
    except OSError as error:
        raise LookFailed("child_failed", f"the child cannot be started: {error.strerror}") from None
    return _read_answer(ended.stdout, ended.stderr)


def _read_answer(answer: bytes, errors: bytes) -> Look:
    try:
        document: dict[str, Any] = json.loads(answer[:ANSWER_BYTES_MAX])
        costs = {"bytes_sent": int(document["bytes_sent"]), "bytes_received": int(document["bytes_received"])}
        problem = document.get("error")
        if problem is None:
            verdict = Verdict.from_json(json.dumps(document["verdict"]))
            return Look(verdict=verdict, downloaded=str(document["downloaded"]), **costs)
    except (ValueError, KeyError, TypeError, VerdictUnreadable):
        last_words = errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
        raise LookFailed("child_failed", f"the child gave no answer: {last_words}") from None
    raise LookFailed(problem["code"], problem["detail"], is_stopped=problem["is_stopped"], **costs)
