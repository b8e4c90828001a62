"""The refusal of this package. The one file in which client and server differ: each has a base class of its own."""

from __future__ import annotations

from typing import ClassVar

from workunits.domain.errors import FleetError


class RulesInvalid(FleetError):
    """The owner's rules cannot be used; the text names the key and how to mend it."""

    code: ClassVar[str] = "rules_invalid"
    retryable: ClassVar[bool] = False
