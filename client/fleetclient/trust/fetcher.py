"""Fetches repository files for python-tuf: one origin, no redirects, a size cap and a least speed for every file.

A server that never ends an answer, or drips it, costs the car a bounded number of bytes and seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import requests
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from fleetclient import __version__

CONNECT_SECONDS = 10.0
READ_SECONDS = 20.0
# After this head start a transfer must have kept to the least speed.
GRACE_SECONDS = 20.0
BYTES_PER_SECOND_MIN = 256
PIECE_BYTES = 64 * 1024
# Request and status lines with headers, which the socket carries as well.
HEADER_BYTES = 500
BYTES_MAX = 64 * 1024 * 1024


class SlowRetrieval(DownloadError):
    """The file comes so slowly that the server seems to hold the car up on purpose."""


class TooMuch(DownloadError):
    """The server sent more than one look may cost."""


class RepositoryFetcher(FetcherInterface):
    """`bytes_sent` and `bytes_received` count what the looks cost; `server_at` is the server's clock, 0 if unknown.

    `last_timestamp` is the newest `timestamp.json` as it came.
    """

    def __init__(self, origin: str, *, proxy: str = "", bytes_max: int = BYTES_MAX) -> None:
        self._origin = urlsplit(origin)
        self._session = requests.Session()
        if proxy:
            self._session.proxies = {"http": proxy, "https": proxy}
        self._bytes_max = bytes_max
        self.bytes_sent = 0
        self.bytes_received = 0
        self.server_at = 0.0
        self.last_timestamp = b""

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        if (parts.scheme, parts.netloc) != (self._origin.scheme, self._origin.netloc):
            raise DownloadError(f"{url} is not on this car's server")
        response = self._session.get(
            url,
            headers={"User-Agent": f"fleetclient/{__version__}", "Accept-Encoding": "identity"},
            stream=True,
            allow_redirects=False,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )
        self.bytes_sent += HEADER_BYTES
        self.bytes_received += HEADER_BYTES
        self._note_date(response.headers.get("Date", ""))
        if response.status_code != HTTPStatus.OK:
            response.close()
            raise DownloadHTTPError(f"{url} was answered with {response.status_code}", response.status_code)
        pieces = self._pieces(response, url)
        return self._remembered(pieces) if parts.path.endswith("/timestamp.json") else pieces

    def _pieces(self, response: requests.Response, url: str) -> Iterator[bytes]:
        began_at, received = time.monotonic(), 0
        with response:
            # read1 gives what has come; read would wait for a whole piece, however slowly its bytes drip.
            while piece := response.raw.read1(PIECE_BYTES):
                received += len(piece)
                self.bytes_received += len(piece)
                if self.bytes_received > self._bytes_max:
                    raise TooMuch(f"the repository sent more than {self._bytes_max} bytes")
                seconds = time.monotonic() - began_at
                if seconds > GRACE_SECONDS and received < seconds * BYTES_PER_SECOND_MIN:
                    raise SlowRetrieval(f"{url} brought {received} bytes in {seconds:.0f} s")
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
