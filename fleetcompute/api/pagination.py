"""Lists by cursor: `limit` and an opaque `after`; never an offset, never a count of the whole table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request

from workunits.domain.errors import FleetError

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
NUMBER_MAX: Final = 2**31 - 1

Row = TypeVar("Row", bound=Model)


class PageInvalid(FleetError):
    """`limit` or `after` is not valid."""

    code: ClassVar[str] = "invalid_request"


def read_limit(request: Request) -> int:
    """Return the page's size. Raises PageInvalid."""
    text = request.query_params.get("limit", str(LIMIT_DEFAULT))
    if not text.isdecimal() or not 1 <= int(text) <= LIMIT_MAX:
        raise _invalid("limit", f"limit must be 1 to {LIMIT_MAX}, not {text[:20]!r}.")
    return int(text)


def newest_first(
    request: Request, rows: QuerySet[Row], present: Callable[[Sequence[Row]], list[dict[str, Any]]]
) -> dict[str, Any]:
    """Return one page of `rows`, newest first. The cursor is the public id of the last row shown."""
    limit = read_limit(request)
    after = request.query_params.get("after")
    if after is not None:
        if not after.isprintable():
            raise _invalid("after", "after is not a cursor that this list gave out.")
        last = rows.model._default_manager.filter(public_id=after).values_list("pk", flat=True).first()  # noqa: SLF001
        if last is None:
            raise _invalid("after", "after is not a cursor that this list gave out.")
        rows = rows.filter(pk__lt=last)
    found = list(rows.order_by("-pk")[: limit + 1])
    page = present(found[:limit])
    return page_of(page, has_more=len(found) > limit, cursor=page[-1]["id"] if page else None)


def page_of(data: list[dict[str, Any]], *, has_more: bool, cursor: str | None) -> dict[str, Any]:
    """Return the envelope of every list."""
    return {"data": data, "has_more": has_more, "next_cursor": cursor if has_more else None}


def _invalid(parameter: str, detail: str) -> PageInvalid:
    return PageInvalid(detail, errors=[{"pointer": f"/{parameter}", "detail": detail}])


def read_after_number(request: Request) -> int:
    """Return the number after which a list of numbered things goes on, -1 from the start. Raises PageInvalid."""
    text = request.query_params.get("after")
    if text is None:
        return -1
    if not text.isdecimal() or int(text) > NUMBER_MAX:
        raise _invalid("after", "after is not a cursor that this list gave out.")
    return int(text)
