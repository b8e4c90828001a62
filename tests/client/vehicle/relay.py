"""A wire between a source and its broker that a test can cut and mend while the broker lives on."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Passes bytes from a port of its own to another one."""

    host = "127.0.0.1"

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.port = 0
        self.mend()

    def mend(self) -> None:
        """Listen, always on the same port."""
        listener = socket.create_server((self.host, self.port))
        self.port = listener.getsockname()[1]
        with self._lock:
            self._open = [listener]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Break all connections and take none until mended."""
        with self._lock:
            gone, self._open = self._open, []
        for each in gone:
            with contextlib.suppress(OSError):  # the other side may have been quicker
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection((self.host, self._target))
            except OSError:
                return
            with self._lock:
                self._open += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
