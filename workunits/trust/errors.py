"""What people and the admission service are told when the repository refuses something.

These never answer an HTTP request, so they are no `FleetError`s, which the table of problems lists.
"""

from __future__ import annotations

from typing import ClassVar


class TrustError(Exception):
    """Something about keys, signatures or metadata is not as it must be; the text says what and how to mend it."""

    code: ClassVar[str] = "trust_error"
    retryable: ClassVar[bool] = False
