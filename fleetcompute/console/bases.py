"""What the console's sections share: lists that never count a whole table, and rows that nobody edits by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

# Django's own classes take no type arguments at run time.
if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
    AnyInline = admin.TabularInline[Any, Any]
    AnyPaginator = Paginator[Any]
else:
    AnyAdmin, AnyInline, AnyPaginator = admin.ModelAdmin, admin.TabularInline, Paginator

ROWS_SHOWN: Final = 50
# Beyond this a list says no more how many rows there are: counting millions for a page number helps nobody.
COUNT_MAX: Final = 10_000


class BoundedPaginator(AnyPaginator):
    """Counts at most `COUNT_MAX` rows."""

    @cached_property
    def count(self) -> int:
        """Return the rows there are, or `COUNT_MAX` when there are more."""
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_MAX].count())


class ReadOnlyAdmin(AnyAdmin):
    """A table to look at: no adding, changing or removing, whoever asks."""

    show_full_result_count = False
    list_per_page = ROWS_SHOWN
    list_max_show_all = ROWS_SHOWN
    paginator = BoundedPaginator
    actions = None
    list_select_related: ClassVar[Any] = True

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False."""
        return False


class HotTableAdmin(ReadOnlyAdmin):
    """A partitioned table, read through its view, whose text id joins the parts of its key by `:`.

    A lookup filters by the parts: the joined text has no index, and only the batch leads to one partition.
    `key_fields` names the parts, the batch first.
    """

    key_fields: ClassVar[tuple[str, ...]] = ("batch_id",)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Order by the key, which the primary index of each partition gives."""
        return self.key_fields

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model | None:
        """Return the row of a joined id, None when the id is malformed or names nothing."""
        lookup = parse_key(object_id, self.key_fields)
        return None if lookup is None else self.get_queryset(request).filter(**lookup).first()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by a batch's public id or by the leading parts of a joined id; anything else finds nothing."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith("bat_"):
            return queryset.filter(batch__public_id=term), False
        lookup = parse_key(term, self.key_fields[: term.count(":") + 1])
        return (queryset.none() if lookup is None else queryset.filter(**lookup)), False

    # Django shows the search box only where fields are named; what they would search is decided above.
    search_fields = ("batch_id",)
    search_help_text = "A batch's public id, or the leading parts of an id (batch:unit)."
    show_facets = admin.ShowFacets.NEVER
    list_select_related: ClassVar[Any] = ("batch",)


def choice_filter(field: str, choices: Sequence[tuple[int, str]]) -> type[admin.SimpleListFilter]:
    """Return a filter of a number that stands for a name: Django's own would look through all rows for its values."""

    class ChoiceFilter(admin.SimpleListFilter):
        title = field
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(str(number), name) for number, name in choices]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            chosen = next((number for number, _ in choices if str(number) == self.value()), None)
            return queryset if chosen is None else queryset.filter(**{field: chosen})

    return ChoiceFilter


def parse_key(text: str, fields: tuple[str, ...]) -> dict[str, int] | None:
    """Return the parts of a joined id by field, None when it has other parts or one is not a number of 63 bits."""
    parts = text.split(":")
    if len(parts) != len(fields) or not all(part.isdecimal() and len(part) <= 18 for part in parts):
        return None
    return dict(zip(fields, map(int, parts), strict=True))


def hexadecimal(name: str, label: str) -> Callable[[Any, Any], str]:
    """Return a column that shows the bytes of `name` as hex digits."""

    @admin.display(description=label)
    def column(_section: Any, row: Any) -> str:
        value = getattr(row, name)
        return bytes(value).hex() if value is not None else ""

    return column
