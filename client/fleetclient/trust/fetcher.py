"""Fetches repository files for python-tuf by the door: one origin, no redirects, a size cap and a least speed.

A server that never ends an answer, or drips it, costs the car a bounded number of bytes and seconds. What the owner
says of networks, bytes a day, bandwidth, proxy and certificates holds for these files as for all others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from fleetclient import __version__
from fleetclient.errors import ClientError
from fleetclient.netpolicy.door import Door, Errand, Reply
from fleetclient.netpolicy.policy import NetworkPolicy

READ_SECONDS_MAX = 20.0
# After this head start a transfer must have kept to the least speed.
GRACE_SECONDS = 20.0
BYTES_PER_SECOND_MIN = 256
BYTES_MAX = 64 * 1024 * 1024
_HEADERS = {"User-Agent": f"fleetclient/{__version__}", "Accept-Encoding": "identity"}


class SlowRetrieval(DownloadError):
    """The files come so slowly that the server seems to hold the car up on purpose."""

    code = "too_slow"


class TooMuch(DownloadError):
    """The server sent more than one look may cost."""

    code = "too_large"


class NotFetched(DownloadError):
    """The door let nothing through, or the server was out of reach; `code` is that of the error underneath."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(str(error))
        self.code = error.code


class RepositoryFetcher(FetcherInterface):
    """One look's files, within `seconds_max` and `bytes_max` for all of them together.

    The door is this look's own, and so is its breaker: these files are asked for without a signature, by nobody in
    particular. `server_at` is the server's clock, 0 if unknown; `last_timestamp` the newest `timestamp.json` as it
    came.
    """

    def __init__(
        self, origin: str, policy: NetworkPolicy, *, seconds_max: float = 120.0, bytes_max: int = BYTES_MAX
    ) -> None:
        self._origin = urlsplit(origin)
        self._door = Door(origin, policy)
        self._read_seconds = min(READ_SECONDS_MAX, policy.options.read_seconds)
        self._seconds_max = seconds_max
        self._ends_at = time.monotonic() + seconds_max
        self._bytes_max = bytes_max
        self._received = 0
        self.server_at = 0.0
        self.last_timestamp = b""

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        if (parts.scheme, parts.netloc) != (self._origin.scheme, self._origin.netloc):
            raise DownloadError(f"{url} is not on this car's server")
        pieces = self._fetch_path(parts.path)
        return self._remembered(pieces) if parts.path.endswith("/timestamp.json") else pieces

    def _fetch_path(self, path: str) -> Iterator[bytes]:
        errand = Errand(
            method="GET",
            path=path,
            headers=_HEADERS,
            is_file=not path.endswith(".json"),  # a release may wait for tomorrow's bytes, the fleet's word should not
            read_seconds=self._read_seconds,
        )
        try:
            with self._door.open(errand) as reply:
                self._note_date(reply.headers.get("Date", ""))
                if reply.status != HTTPStatus.OK:
                    raise DownloadHTTPError(f"{path} was answered with {reply.status}", reply.status)
                yield from self._pieces(reply, path)
        except ClientError as error:
            raise NotFetched(error) from None

    def _pieces(self, reply: Reply, path: str) -> Iterator[bytes]:
        began_at, received = time.monotonic(), 0
        # What has come, at once: waiting for a whole piece would let a server drip it for ever.
        for piece in reply.pieces(at_once=True):
            received += len(piece)
            self._received += len(piece)
            if self._received > self._bytes_max:
                raise TooMuch(f"the repository sent more than {self._bytes_max} bytes")
            now = time.monotonic()
            if now > self._ends_at:
                raise SlowRetrieval(f"the repository took more than {self._seconds_max:.0f} s")
            seconds = now - began_at
            if seconds > GRACE_SECONDS and received < seconds * BYTES_PER_SECOND_MIN:
                raise SlowRetrieval(f"{path} brought {received} bytes in {seconds:.0f} s")
            yield piece

    def _remembered(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        content = b""
        for piece in pieces:
            content += piece
            yield piece
        self.last_timestamp = content

    def _note_date(self, date: str) -> None:
        try:
            self.server_at = max(self.server_at, parsedate_to_datetime(date).timestamp())
        except (TypeError, ValueError):
            return  # a server without a clock is as good as one that lies about it: the other clocks decide
