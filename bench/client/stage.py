"""What the three benchmarks of the client stand on: a live installation, a broker, and one real paired car."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.client.teslamate import TeslaMate
from bench.demo import accounts
from bench.demo.cars import Car
from bench.demo.cast import CARS, OWNERS, PASSWORD, username_of
from bench.demo.portal import OwnerBrowser
from bench.demo.research import Researcher
from bench.measure.installation import fresh_home
from bench.measure.mqtt_broker import start_broker
from fleetcompute.embedded import Supervisor
from fleetcompute.embedded.process import wait_until

READY_SECONDS: Final = 120.0
SERVER_ENV: Final = {"FLEET_LOG_LEVEL": "WARNING", "FLEET_PAIRING_INTERVAL_SECONDS": "1"}
ENDED: Final = ("completed", "failed", "cancelled", "expired")


class StageError(RuntimeError):
    """Something that a benchmark needs did not come about; the text says where to look."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything that runs. `car` is paired and not started yet."""

    supervisor: Supervisor
    teslamate: TeslaMate
    broker_port: int
    broker_pid: int
    car: BenchCar
    researcher: Researcher
    folder: Path


class BenchCar(Car):
    """A car whose configuration a benchmark writes; its client is the one that ships, as a process."""

    def configure(self, text: str) -> None:
        """Replace the configuration that it was paired with."""
        self._config_path.write_text(text)

    @property
    def pid(self) -> int:
        """The agent's process."""
        if self._child is None:
            raise StageError(f"{self} is not started")
        return self._child.pid

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what the client has logged under a name."""
        return [event for event in self._events() if event.get("event") == name]

    def status(self) -> dict[str, Any]:
        """Return what the agent last wrote of itself; empty before that."""
        try:
            document: dict[str, Any] = json.loads((self.folder / "state" / "status.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return document

    def wait(self, condition: Callable[[], bool], what: str, *, seconds: float = READY_SECONDS) -> None:
        """Return when it holds. Raises StageError with the end of the client's log."""
        wait_until(lambda: condition() or not self.is_running, seconds=seconds)
        if condition():
            return
        how = f"not within {seconds:.0f} s" if self.is_running else f"the client ended with status {self._status()}"
        last = self.log_path.read_text(errors="replace")[-2000:]
        raise StageError(f"{what}: {how}. The client's log ends with:\n{last}")

    def _status(self) -> int | None:
        return self._child.process.poll() if self._child is not None else None


@contextmanager
def set_stage(*, server_env: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Start everything and pair the car; end and erase all of it afterwards. Once a process."""
    with fresh_home() as home, start_broker() as broker:
        folder = home / "bench"
        folder.mkdir()
        with Supervisor(home=home, env={**SERVER_ENV, **(server_env or {})}) as supervisor:
            accounts.open_installation(supervisor.env)
            accounts.sign_up_owners()
            key = accounts.sign_up_researcher()
            teslamate = TeslaMate(host=broker.host, port=broker.port)
            car = BenchCar(CARS[0], folder=folder, origin=supervisor.web_url)
            try:
                _pair(car, supervisor.web_url)
                yield Stage(
                    supervisor=supervisor,
                    teslamate=teslamate,
                    broker_port=broker.port,
                    broker_pid=broker.pid,
                    car=car,
                    researcher=Researcher(supervisor.web_url, key),
                    folder=folder,
                )
            finally:
                car.stop()
                teslamate.stop()


def config_text(stage: Stage, *, rules: str = "", more: str = "") -> str:
    """Return a configuration with TeslaMate as the source, at whatever time of day and on any network."""
    return f"""\
server = "{stage.supervisor.web_url}"
state_dir = "state"
name = "Benchmark"

[vehicle]
source = "teslamate"
hand_back = true

[vehicle.teslamate]
port = {stage.broker_port}

[rules]
ready_by = "none"
only_home_network = false
hours_day_max = "none"
data_day_gb_max = "none"
data_month_gb_max = "none"
{rules}
{more}"""


def pin(pids: list[int], cores: set[int]) -> None:
    """Keep processes, with all their threads, on some cores; what they start later inherits it."""
    for pid in pids:
        for thread in _threads(pid):
            os.sched_setaffinity(thread, cores)


def _threads(pid: int) -> list[int]:
    try:
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:
        return []


def order(stage: Stage, *, model: Path, dataset: Path, file_format: str, batch_rows: int) -> str:
    """Upload a model and a dataset, order a batch at quorum 1, and return its id."""
    uploaded = stage.researcher.upload_model(model, name=model.stem, batch_rows=batch_rows)
    rows = stage.researcher.upload_dataset(dataset, name=dataset.stem, file_format=file_format)
    batch = stage.researcher.order_batch(model_id=uploaded["id"], dataset_id=rows["id"], quorum=1)
    return str(batch["id"])


def wait_for_batch(stage: Stage, batch_id: str, *, seconds: float) -> str:
    """Return the status with which a batch has ended. Raises StageError when it does not."""
    give_up_at = time.monotonic() + seconds
    progress = stage.researcher.get_progress(batch_id)
    while progress["status"] not in ENDED and time.monotonic() < give_up_at:
        time.sleep(0.2)
        progress = stage.researcher.get_progress(batch_id)
    if progress["status"] in ENDED:
        return str(progress["status"])
    raise StageError(f"the batch {batch_id} did not end within {seconds:.0f} s: {progress}")


def _pair(car: BenchCar, origin: str) -> None:
    car.ask_for_pairing()
    browser = OwnerBrowser(origin)
    browser.sign_in(username=username_of(OWNERS[0]), password=PASSWORD)
    code, number = car.read_code()
    browser.approve(code, number)
    car.wait_paired()
