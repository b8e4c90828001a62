"""Where the files of units lie: inputs to run and outputs to offer, one of each a token, complete or not there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


class Spool:
    """Two folders. A file has its final name only when it is whole, checked and forced to disk."""

    def __init__(self, folder: Path) -> None:
        self._inputs = folder / "inputs"
        self._outputs = folder / "outputs"
        for each in (self._inputs, self._outputs):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    def input_path(self, token: str) -> Path:
        """Return where the input of a unit is, or will be."""
        return self._inputs / f"{token}.safetensors"

    def output_path(self, token: str) -> Path:
        """Return where the output of a unit is, or will be."""
        return self._outputs / f"{token}.safetensors"

    def has_input(self, token: str) -> bool:
        """Return True when a checked input is here."""
        return self.input_path(token).exists()

    def drop_input(self, token: str) -> None:
        """Delete the input of a unit that needs no running any more."""
        self.input_path(token).unlink(missing_ok=True)

    def drop(self, token: str) -> None:
        """Delete all files of a unit."""
        self.drop_input(token)
        self.output_path(token).unlink(missing_ok=True)

    def sweep(self, known: Collection[str]) -> None:
        """Delete what a crash left behind: halves, and files of units that the journal does not know."""
        for folder in (self._inputs, self._outputs):
            for path in folder.iterdir():
                if path.suffix != ".safetensors" or path.stem not in known:
                    path.unlink(missing_ok=True)
