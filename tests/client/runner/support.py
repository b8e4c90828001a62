"""A runner under test, with everything it said."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from fleetclient.runner.jobs import Job, RunnerEvent, RunnerExited, RunnerFailed, RunnerSettings, UnitFailed
from fleetclient.runner.process import Runner
from tests.client.support import contract_of, input_rows, wait_until

FAILURES = (UnitFailed, RunnerFailed, RunnerExited)
SALT = "000102030405060708090a0b0c0d0e0f"


class Bench:
    """A runner under test and everything it said."""

    def __init__(self, folder: Path, model: bytes, settings: dict[str, Any], limits: dict[str, int]) -> None:
        threads, comparator = settings.pop("threads", 1), settings.pop("comparator", "")
        # On a busy machine an idle process may not get a turn for longer than a test waits.
        settings.setdefault("walls_off", ("idle_priority",))
        self.folder = folder
        model_path = folder / "model"
        model_path.write_bytes(model)
        contract = contract_of(model, **limits)
        scores, *others = contract.outputs
        contract = replace(
            contract,
            session=replace(contract.session, intra_op_threads=threads),
            outputs=(replace(scores, comparator=comparator), *others),
        )
        self.runner = Runner(
            RunnerSettings(
                model_path=model_path, contract=contract, memory_bytes=contract.limits.memory_bytes, **settings
            ),
            folder=folder,
        )
        self.events: list[RunnerEvent] = []
        self._heard = 0  # how many of them have been waited for, or passed over

    def submit(
        self, token: str = "unit", *, rows: int = 10, seed: int = 0, lease_rows: int | None = None, write: bool = True
    ) -> None:
        document = save({"x": input_rows(rows, seed)})
        if write:
            (self.folder / f"{token}.in").write_bytes(document)
        self.runner.submit(
            Job(
                token=token,
                rows=lease_rows or rows,
                salt=SALT,
                input_digest=hashlib.sha256(document).hexdigest(),
                input_path=self.folder / f"{token}.in",
                output_path=self.folder / f"{token}.out",
            )
        )

    def heard(self, kind: type[RunnerEvent]) -> list[RunnerEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def hear(self, *kinds: type[RunnerEvent]) -> RunnerEvent:
        """Wait for the next event of one of the kinds that nobody has waited for; fails when a failure comes first."""
        wait_until(
            lambda: self._find((*kinds, *FAILURES)) is not None, also=lambda: self.events.extend(self.runner.poll())
        )
        found = self._find((*kinds, *FAILURES))
        assert found is not None
        self._heard = found + 1
        assert isinstance(self.events[found], kinds), f"it failed: {self.events}"
        return self.events[found]

    def _find(self, kinds: tuple[type[RunnerEvent], ...]) -> int | None:
        later = range(self._heard, len(self.events))
        return next((index for index in later if isinstance(self.events[index], kinds)), None)


Make = Callable[..., Bench]
