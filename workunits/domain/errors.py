"""The base of every refusal. Each concrete class lives beside the code that raises it; one table maps codes to HTTP."""

from __future__ import annotations

from typing import Any, ClassVar


class FleetError(Exception):
    """The request cannot be carried out."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "", **context: Any) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.context = context
        super().__init__(self.detail)
