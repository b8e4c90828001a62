"""What is shown while the fleet works: bars on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Final, Protocol

from tqdm import tqdm

LINE_SECONDS: Final = 4.0


class Display(Protocol):
    """Shows sentences and how far batches are."""

    def say(self, sentence: str) -> None:
        """Print a sentence with the seconds since the start."""

    def show(self, done: Mapping[str, int]) -> None:
        """Show how many rows of each batch are done."""

    def close(self) -> None:
        """Leave the final state on the screen."""


def open_display(totals: Mapping[str, int], *, began_at: float) -> Display:
    """Return bars for a terminal and lines for anything else. `totals`: rows of each batch by its title."""
    return Bars(totals, began_at=began_at) if sys.stdout.isatty() else Lines(totals, began_at=began_at)


def stamp(began_at: float, sentence: str) -> str:
    """Return the sentence after the seconds since `began_at` (monotonic)."""
    return f"{time.monotonic() - began_at:6.1f} s  {sentence}"


class Bars:
    """One bar for each batch at the bottom, sentences above."""

    def __init__(self, totals: Mapping[str, int], *, began_at: float) -> None:
        self._began_at = began_at
        width = max(map(len, totals), default=0)
        self._bars = {
            title: tqdm(total=total, desc=f"{title:<{width}}", unit=" rows", position=place, file=sys.stdout)
            for place, (title, total) in enumerate(totals.items())
        }

    def say(self, sentence: str) -> None:
        """Print above the bars."""
        tqdm.write(stamp(self._began_at, sentence), file=sys.stdout)

    def show(self, done: Mapping[str, int]) -> None:
        """Move the bars."""
        for title, rows in done.items():
            self._bars[title].update(rows - self._bars[title].n)

    def close(self) -> None:
        """Leave the bars as they are."""
        for bar in self._bars.values():
            bar.close()


class Lines:
    """A line when something happens, and every `LINE_SECONDS`."""

    def __init__(self, totals: Mapping[str, int], *, began_at: float) -> None:
        self._totals = totals
        self._began_at = began_at
        self._shown_at = 0.0
        self._shown: dict[str, int] = {}

    def say(self, sentence: str) -> None:
        """Print at once."""
        print(stamp(self._began_at, sentence), flush=True)

    def show(self, done: Mapping[str, int]) -> None:
        """Print where the batches are, if the last line is old enough."""
        if time.monotonic() - self._shown_at >= LINE_SECONDS:
            self._print(done)

    def close(self) -> None:
        """Do nothing: the lines are printed already."""

    def _print(self, done: Mapping[str, int]) -> None:
        self._shown_at = time.monotonic()
        if done != self._shown:
            self._shown = dict(done)
            self.say("   ".join(f"{title} {rows:>4} of {self._totals[title]} rows" for title, rows in done.items()))
