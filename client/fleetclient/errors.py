"""The one base of every error that the client raises on purpose.

Each class lives beside the code that raises it. `code` is what logs and tests look at, `retryable` says whether
doing the same thing again later can help.
"""

from __future__ import annotations

from typing import ClassVar


class ClientError(Exception):
    """Something the client foresaw went wrong."""

    code: ClassVar[str] = "client_error"
    retryable: ClassVar[bool] = False
