"""Named SQL: one hot statement a file, read once; its header says who calls it, its locks and its indexes.

What every sync runs is inside functions of the database, made from the statements' files (`load_function`).
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_INCLUSION = re.compile(r"^\{(\w+)\}", re.MULTILINE)
_HOT_TABLE = re.compile(r"\b(FROM|JOIN|INTO|UPDATE) (unit|replica|review|unit_event|earning_item)\b")
LANES = 16


@cache
def load_sql(name: str) -> str:
    """Return the text of `name` (e.g. `lease_replicas` or `schema/0002_hot_tables`), comments stripped.

    Comments are for readers: sending them would cost parsing time on every call.
    """
    lines = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("--"))


def load_function(name: str, *, lane: int | None = None) -> str:
    """Return the command that creates a function of the database from `functions/{name}.sql`.

    A line `{statement}` stands for that statement's file, whose parameters `%(x)s` are the function's `in_x`. With a
    `lane` the function is `{name}_{lane}` and names that lane's tables: the executor then neither locks nor opens the
    fifteen others, which takes longer than the work itself.
    """
    text = _INCLUSION.sub(
        lambda found: _PLACEHOLDER.sub(r"in_\1", load_sql(found[1])).replace("%%", "%"), load_sql(f"functions/{name}")
    )
    if lane is None:
        return text
    return _HOT_TABLE.sub(rf"\1 \2_{lane}", text).replace(f"FUNCTION {name}(", f"FUNCTION {name}_{lane}(")
