"""The WSGI application of the product behind a socket, in a thread of this process, and the one connection to it.

The driver makes one request at a time, so one kept connection is enough, and one thread, with one connection to the
database, answers them all in the order in which they were made.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from bench.dispatch.http import KeptConnection


@contextlib.contextmanager
def serving() -> Iterator[tuple[KeptConnection, str]]:
    """Yield a connection to the server, and the authority that requests have to be signed for."""
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.db import connections

    from fleetcompute.wsgi import application

    class Quiet(WSGIRequestHandler):
        # Head and body are written one after the other; the second would wait for the first's acknowledgement.
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadedWSGIServer):
        def close_request(self, request: Any) -> None:
            connections.close_all()  # this thread's
            super().close_request(request)

    server = Server(("127.0.0.1", 0), Quiet)
    server.set_app(application)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    host, port = server.server_address[:2]
    try:
        with KeptConnection(str(host), int(port)) as connection:
            yield connection, f"127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
