"""What the readers of the dataset formats have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol

from workunits.domain.errors import FleetError
from workunits.domain.tensors import Tensor
from workunits.domain.types import TensorSpec

Block = dict[str, Tensor]


class DatasetRefused(FleetError):
    """The dataset cannot be used; the message names the column and the row where there are such."""

    code: ClassVar[str] = "dataset_refused"

    def __init__(self, detail: str, *, column: str | None = None, row: int | None = None) -> None:
        super().__init__(detail, column=column, row=row)
        self.column, self.row = column, row


class DatasetReader(Protocol):
    """One opened file.

    Attributes:
        columns: what looks usable from the file's own description; only reading shows whether it is.
        unusable: the other columns, with the reason.
    """

    rows: int
    columns: list[TensorSpec]
    unusable: dict[str, str]

    def blocks(self, columns: Sequence[TensorSpec], rows_per_block: int) -> Iterator[Block]:
        """Yield arrays `[rows_per_block, *shape]` of the columns' own dtypes, in order; the last may be shorter."""


def explain_name(name: str, taken: set[str]) -> str | None:
    """Return why a column cannot have this name, or None; a repeated name refuses the dataset."""
    if name in taken:
        raise DatasetRefused(f"There are two columns called {name!r}.", column=name)
    taken.add(name)
    return "the name is reserved" if name == "__metadata__" else None
