"""Where the files of units lie: inputs to run and outputs to offer, one of each a token, complete or not there.

Where an output is not there yet lies the unit's partial one, which the runner goes on with (`runner.checkpoints`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fleetclient.files import sync_folder
from fleetclient.runner.checkpoints import part_path


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

    def prepare_part(self, token: str) -> None:
        """Make the place of a partial output, so that a power cut finds its name on disk and not only its bytes."""
        part_path(self.output_path(token)).touch(mode=0o600)
        sync_folder(self._outputs)

    def drop_input(self, token: str) -> None:
        """Delete the input of a unit that needs no running any more."""
        self.input_path(token).unlink(missing_ok=True)

    def drop(self, token: str) -> None:
        """Delete all files of a unit."""
        self.drop_input(token)
        self.output_path(token).unlink(missing_ok=True)
        part_path(self.output_path(token)).unlink(missing_ok=True)

    def sweep(self, *, to_run: Collection[str], to_offer: Collection[str]) -> None:
        """Delete what a crash left behind: all but inputs and partial outputs of units to run, and outputs to offer.

        An output of a unit that is still to run goes as well: the journal does not know its digest.
        """
        kept = {self.input_path(token) for token in to_run} | {self.output_path(token) for token in to_offer}
        kept |= {part_path(self.output_path(token)) for token in to_run}
        for folder in (self._inputs, self._outputs):
            for path in folder.iterdir():
                if path not in kept:
                    path.unlink(missing_ok=True)
