"""Named SQL: one hot statement a file. The header of each says who calls it, its locks and its indexes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def load_sql(name: str) -> str:
    """Return the text of `name` (e.g. `lease_replicas` or `schema/0002_hot_tables`), comments stripped.

    Comments are for readers: sending them would cost parsing time on every call.
    """
    lines = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("--"))
