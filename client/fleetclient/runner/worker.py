"""One loaded model and the units it is given. Runs inside the walls: to import this module imports all it needs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from safetensors.numpy import load, save

from fleetclient.runner import compute, simulation
from fleetclient.runner.blocks import BlockLog, Syncer, write_all
from fleetclient.runner.checkpoints import fingerprint
from fleetclient.runner.document import Layout, lay_out
from fleetclient.runner.jobs import Job, RunnerEvent, RunnerSettings, UnitDone, UnitFailed, UnitProgress, UnitStarted
from fleetclient.runner.pipes import Delivery, Inbox, read_file
from fleetclient.runner.reasons import OutputTooLarge, detail_of, reason_of
from fleetclient.runner.sketch import SketchedTensor, sketch_kind, sketch_tensors
from fleetclient.wire import output_digest


class Cancelled(Exception):
    """The agent does not want this unit any more."""


class Worker:
    """Runs jobs in the order in which they come."""

    def __init__(
        self, settings: RunnerSettings, session: Any, *, tell: Callable[[RunnerEvent], None], inbox: Inbox
    ) -> None:
        self._settings = settings
        self._session = session
        self._tell = tell
        self._inbox = inbox
        self._syncer = Syncer()
        self._jobs: list[Delivery] = []
        self._cancelled: set[str] = set()

    def take(self, delivery: Delivery) -> None:
        """Do what a message says, and run all jobs that have come."""
        self._sort([delivery])
        while self._jobs:
            self._run(self._jobs.pop(0))
            self._sort(self._inbox.receive_now())

    def _sort(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            if "cancel" in delivery.message:
                self._cancelled.add(delivery.message["cancel"])
            else:
                self._jobs.append(delivery)

    def _run(self, delivery: Delivery) -> None:
        """Run one unit and report it done or failed."""
        message = dict(delivery.message)
        refused = message.pop("refused", None)
        job = Job(**message)
        if refused is not None:
            self._tell(UnitFailed(token=job.token, **refused))
            return
        self._tell(UnitStarted(token=job.token))
        try:
            done = self._compute(job, *delivery.files)
        except Exception as error:  # noqa: BLE001 - the edge of this process; the agent hears a reason and decides
            self._tell(UnitFailed(token=job.token, reason=reason_of(error, "run_failed"), detail=detail_of(error)))
        else:
            self._tell(done)
        finally:
            self._cancelled.discard(job.token)
            for descriptor in delivery.files:
                os.close(descriptor)

    def _compute(self, job: Job, input_file: int, part_file: int, output_file: int) -> UnitDone:
        layout = self._layout(job)
        inputs = compute.load_inputs(read_file(input_file), self._settings.contract, job.rows)
        log = BlockLog(part_file, fingerprint=self._fingerprint(job), layout=layout, rows=job.rows, syncer=self._syncer)
        try:
            cpu_seconds = self._run_batches(job, inputs, log)
        finally:
            self._syncer.wait()
        if self._settings.fault == "none":
            digest, output_bytes = log.copy_document(output_file, bytes.fromhex(job.salt)), layout.document_bytes
        else:
            digest, output_bytes = self._lie(job, log, output_file)
        os.fsync(output_file)
        return UnitDone(
            token=job.token,
            digest=digest,
            output_bytes=output_bytes,
            cpu_seconds=cpu_seconds,
            sketch=self._sketch(job, output_file, output_bytes),
        )

    def _sketch(self, job: Job, output_file: int, output_bytes: int) -> str:
        """Sketch what is committed to, where it is too large to be sent along."""
        contract = self._settings.contract
        if output_bytes <= contract.limits.inline_bytes_max:
            return ""
        tensors = load(read_file(output_file))
        sketched = [
            SketchedTensor(sketch_kind(spec.comparator, spec.dtype), tensors[spec.name], spec.axis)
            for spec in contract.outputs
        ]
        return sketch_tensors(sketched, bytes.fromhex(job.salt)).hex()

    def _run_batches(self, job: Job, inputs: compute.Tensors, log: BlockLog) -> float:
        """Run what is not in the log yet; return the processor seconds of the whole unit."""
        contract = self._settings.contract
        if log.rows_done:
            self._tell(UnitProgress(token=job.token, rows_done=log.rows_done))
        mark = time.process_time()
        began = mark - log.cpu_seconds
        done = log.rows_done
        for outputs in compute.run_batches(self._session, contract, inputs, start=done, rows=job.rows):
            done += len(outputs[0])
            simulation.sleep_to_speed(time.process_time() - mark, self._settings.speed)
            mark = time.process_time()
            if log.append(outputs, cpu_seconds=mark - began, is_last=done == job.rows):
                self._tell(UnitProgress(token=job.token, rows_done=done))
            self._check_wanted(job)
        return time.process_time() - began

    def _check_wanted(self, job: Job) -> None:
        self._sort(self._inbox.receive_now())
        if job.token in self._cancelled:
            raise Cancelled("the agent does not want it any more")

    def _layout(self, job: Job) -> Layout:
        contract = self._settings.contract
        layout = lay_out(contract.outputs, job.rows)
        if layout.document_bytes > contract.limits.output_bytes_max:
            raise OutputTooLarge(
                f"{layout.document_bytes} bytes, the contract allows {contract.limits.output_bytes_max}"
            )
        return layout

    def _fingerprint(self, job: Job) -> bytes:
        runtime = f"{onnxruntime.__version__} {','.join(self._settings.providers)} {platform.machine()}"
        return fingerprint(
            self._settings.contract, token=job.token, rows=job.rows, input_digest=job.input_digest, runtime=runtime
        )

    def _lie(self, job: Job, log: BlockLog, output_file: int) -> tuple[str, int]:
        """Write what a simulated cheat would; the partial output stays honest."""
        honest = {
            spec.name: np.frombuffer(log.output(index), compute.DTYPES[spec.dtype]).reshape(job.rows, *spec.shape)
            for index, spec in enumerate(self._settings.contract.outputs)
        }
        told = simulation.falsify(honest, self._settings, job)
        document = save({name: np.ascontiguousarray(tensor) for name, tensor in told.items()})
        write_all(output_file, [memoryview(document)])
        return output_digest(job.salt, document), len(document)
