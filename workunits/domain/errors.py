"""The base of every refusal. Each concrete class lives beside the code that raises it; one table maps codes to HTTP.

And what keeps one thing that fails from holding up the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class FleetError(Exception):
    """The request cannot be carried out."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "", **context: Any) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.context = context
        super().__init__(self.detail)


def carry_on(items: Iterable[_Item], act: Callable[[_Item], _Result]) -> list[_Result]:
    """Do it for each item, also where it failed for one before, and return what came of it.

    Sweeps go through batches and vehicles in the same order each time, so one that always fails would keep all behind
    it waiting for ever. Raises ExceptionGroup of what went wrong, once everything was tried.
    """
    results: list[_Result] = []
    problems: list[Exception] = []
    for item in items:
        try:
            results.append(act(item))
        except Exception as problem:  # noqa: BLE001 - whatever it is, the others go on, and it is raised below
            problems.append(problem)
    if problems:
        raise ExceptionGroup(f"{len(problems)} could not be done", problems)
    return results
