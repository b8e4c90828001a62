"""A power cut after every step: of files only what was forced to disk survives, and nothing wrong or doubled comes out.

What is played, and how strictly:

- A file has the content of its last `fsync`, an entry of a folder is there as at the folder's last `fsync`: renames,
  new names and deletions that were not forced are undone. That is the least POSIX promises; real disks keep more.
- A partial output keeps its name (which the agent forces) and a random part of its bytes; the runner's own forcing of
  them cannot be seen from here, because nothing in its walls can write notes. How much may be lost is tested there.
- An output keeps the bytes that the runner says it has forced; this is taken on trust here.
- SQLite's files are kept as the killed process left them: with `synchronous=FULL` each commit is on disk before it
  returns, and what is behind the last commit is ignored by its checksums. That SQLite keeps this word is not tested.
- Folders themselves are there once made. Disks that lie about what they have forced are not played.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.agent.test_crash_safety import (
    CHAINS,
    LARGE,
    SMALL,
    add_all_units,
    assert_nothing_wrong_or_doubled,
)
from tests.client.fake_fleet import FakeFleet
from tests.client.support import CarProcess, wait_until

MakeProcess = Callable[..., CarProcess]
SITE = Path(__file__).parent / "power_cut"
AS_THEY_ARE = (".sqlite", ".sqlite-wal", ".sqlite-shm")
# One step of each kind in every run of the tests; all of them with `-m slow`.
SHORT = [
    "file_renamed@/counter",
    "leases_journaled",
    "file_renamed@/models/",
    "file_renamed@/inputs/",
    "block_done",
    "file_renamed@/outputs/",
    "output_written",
    "settled_journaled",
    "upload_finished",
]


class CarOnAFailingSupply(CarProcess):
    """A car whose agent notes what it forces to disk; `cut` makes its folder what a disk would show afterwards."""

    notes: Path

    def environment(self, fail_point: str = "") -> dict[str, str]:
        environment = super().environment(fail_point)
        environment["PYTHONPATH"] = os.pathsep.join((str(SITE), environment["PYTHONPATH"]))
        environment["POWER_CUT_NOTES"] = str(self.notes)
        return environment

    def cut(self, lot: random.Random) -> None:
        """Leave of the state folder what a power cut at this moment leaves at least."""
        before = self.state.with_name("before")
        self.state.rename(before)
        for folder in (before, *(path for path in before.rglob("*") if path.is_dir())):
            (self.state / folder.relative_to(before)).mkdir(mode=0o700, exist_ok=True)
        for note in self.notes.glob("folder-*"):
            if note.suffix != ".tmp":
                self._restore(json.loads(note.read_text()), before, lot)
        for path in before.iterdir():
            if path.name.endswith(AS_THEY_ARE):
                shutil.copy2(path, self.state / path.name)
        shutil.rmtree(before)
        # A new disk: inodes of the old one mean nothing here. What is there now is all there is.
        shutil.rmtree(self.notes)
        self.notes.mkdir()
        self._note_all()

    def _restore(self, folder: dict[str, object], before: Path, lot: random.Random) -> None:
        path = Path(str(folder["path"]))
        entries: dict[str, int] = folder["entries"]  # type: ignore[assignment]
        for name, inode in entries.items():
            target, known = path / name, self.notes / f"file-{inode}"
            alive = before / target.relative_to(self.state)
            if name.endswith(AS_THEY_ARE):
                continue
            if name.endswith(".part"):
                content = alive.read_bytes() if alive.exists() else b""
                target.write_bytes(content[: lot.randint(0, len(content))])
            elif known.exists():
                target.write_bytes(known.read_bytes())
            else:
                target.write_bytes(b"")
            target.chmod(0o600)

    def _note_all(self) -> None:
        """Force all that is there, as the file system does at the latest when it is mounted again."""
        script = (
            "import os, sys\n"
            "for top, folders, files in os.walk(sys.argv[1]):\n"
            "    for name in [*files, '.']:\n"
            "        descriptor = os.open(os.path.join(top, name), os.O_RDONLY)\n"
            "        os.fsync(descriptor)\n"
            "        os.close(descriptor)\n"
        )
        subprocess.run([self.command()[0], "-c", script, str(self.state)], env=self.environment(), check=True)


@pytest.fixture
def car_on_a_failing_supply(tmp_path: Path, fleet: FakeFleet) -> CarOnAFailingSupply:
    car = CarOnAFailingSupply(tmp_path, fleet)
    car.notes = tmp_path / "notes"
    car.notes.mkdir()
    return car


def run_chain(fleet: FakeFleet, car: CarOnAFailingSupply, chain: list[str]) -> None:
    add_all_units(fleet)
    lot = random.Random(1)
    try:
        for fail_point in chain:
            assert car.start(fail_point=fail_point).wait() == -signal.SIGKILL, fail_point
            car.cut(lot)
        syncs = len(fleet.syncs)
        car.start()
        wait_until(
            lambda: bool(fleet.hand_backs) or (fleet.count("stored") == SMALL + LARGE and len(fleet.syncs) > syncs)
        )
        assert_nothing_wrong_or_doubled(fleet)
        car.send(signal.SIGTERM)
        assert car.wait() == 0
    finally:
        car.stop()
    assert not list((car.state / "outputs").iterdir())


def test_a_car_whose_power_fails_at_one_step_after_the_other_goes_on_with_nothing_wrong_or_doubled(
    fleet: FakeFleet, car_on_a_failing_supply: CarOnAFailingSupply
) -> None:
    run_chain(fleet, car_on_a_failing_supply, SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_the_same_at_every_step(fleet: FakeFleet, car_on_a_failing_supply: CarOnAFailingSupply, chain: str) -> None:
    run_chain(fleet, car_on_a_failing_supply, CHAINS[chain])


def test_the_harness_loses_what_was_not_forced(fleet: FakeFleet, car_on_a_failing_supply: CarOnAFailingSupply) -> None:
    """A harness that kept everything would prove nothing: here it undoes a rename and a write that were not forced."""
    car = car_on_a_failing_supply
    car.state.mkdir()
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "folder = Path(sys.argv[1])\n"
        "def force(path):\n"
        "    descriptor = os.open(path, os.O_RDONLY); os.fsync(descriptor); os.close(descriptor)\n"
        "for name in ('forced', 'renamed', 'changed', 'deleted'):\n"
        "    (folder / name).write_text('old')\n"
        "    force(folder / name)\n"
        "(folder / 'empty').write_text('never forced')\n"
        "force(folder)\n"
        "(folder / 'renamed').rename(folder / 'renamed-2')\n"
        "(folder / 'changed').write_text('new')\n"
        "(folder / 'deleted').unlink()\n"
        "(folder / 'young').write_text('new'); force(folder / 'young')\n"
    )
    subprocess.run([car.command()[0], "-c", script, str(car.state)], env=car.environment(), check=True)
    car.cut(random.Random(1))
    assert {path.name: path.read_text() for path in car.state.iterdir()} == {
        "forced": "old",
        "renamed": "old",
        "changed": "old",
        "deleted": "old",
        "empty": "",
    }
