"""What the doctor found: one line a check, each of which says how to mend what is not well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How a check went."""

    OK = "OK"
    WARN = "WARN"  # the car works, but not as well as it could, or not for long
    FAIL = "FAIL"  # the car will not work like this


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One check's outcome. `mend` is what to do about it, and is never empty unless all is well."""

    check: str
    level: Level
    text: str
    mend: str = ""

    def __post_init__(self) -> None:
        """Refuse a diagnosis without a cure: it would only worry people."""
        if self.level is not Level.OK and not self.mend:
            raise ValueError(f"{self.check}: {self.level} needs a line that says how to mend it")


def ok(check: str, text: str) -> Line:
    """Return the line of something that is well."""
    return Line(check=check, level=Level.OK, text=text)


def warn(check: str, text: str, mend: str) -> Line:
    """Return the line of something that should be better."""
    return Line(check=check, level=Level.WARN, text=text, mend=mend)


def fail(check: str, text: str, mend: str) -> Line:
    """Return the line of something that keeps the car from working."""
    return Line(check=check, level=Level.FAIL, text=text, mend=mend)


@dataclass(frozen=True, kw_only=True)
class Report:
    """All lines, in the order of the checks."""

    lines: Sequence[Line]

    @property
    def has_failed(self) -> bool:
        """True when something keeps the car from working."""
        return any(line.level is Level.FAIL for line in self.lines)

    def as_document(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {"ok": not self.has_failed, "checks": [asdict(line) | {"level": str(line.level)} for line in self.lines]}


def render(report: Report) -> str:
    """Return the report for people."""
    width = max(len(line.check) for line in report.lines)
    rows: list[str] = []
    for line in report.lines:
        rows.append(f"{line.level:4}  {line.check:{width}}  {line.text}")
        if line.mend:
            rows.append(f"{'':6}{'':{width}}  -> {line.mend}")
    failed = sum(line.level is Level.FAIL for line in report.lines)
    warned = sum(line.level is Level.WARN for line in report.lines)
    verdict = (
        "Everything this car needs is there." if not failed else f"{failed} must be mended before the car can work."
    )
    more = f" {warned} could be better." if warned else ""
    return "\n".join([*rows, "", verdict + more])
