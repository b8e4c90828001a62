"""A re-run end to end: the client's runner computes and sketches, the server compares and asks for bytes or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from fleetclient.runner.jobs import Job, RunnerSettings, UnitDone
from fleetclient.runner.once import run_once
from fleetclient.selftest.graphs import GRAPHS, ROWS
from fleetclient.wire.contract import read_contract
from tests.engine.audit_rows import AUDIT, audits_of, put_replica, salt_of
from tests.engine.factories import NOW, Car, later, make_vehicle, rows_of
from tests.engine.real_batch import make_real_batch
from workunits.domain.tokens import ReplicaRef, seal_tokens
from workunits.models import Batch, Vehicle
from workunits.pipeline.report import OfferedCommitment
from workunits.pipeline.validate import validate_ready

pytestmark = pytest.mark.django_db
TRANSFORMER = next(graph for graph in GRAPHS if graph.name == "transformer")


def make_transformer_batch(folder: Path) -> Batch:
    contract = TRANSFORMER.contract(TRANSFORMER.file("onnx"))
    (folder / "model").write_bytes(TRANSFORMER.file("onnx"))
    (folder / "input").write_bytes(TRANSFORMER.file("inputs.safetensors"))
    (inputs,), (outputs,) = contract.inputs, contract.outputs
    described = {"name": outputs.name, "dtype": outputs.dtype, "shape": list(outputs.shape)}
    return make_real_batch(
        TRANSFORMER.file("onnx"),
        [TRANSFORMER.file("inputs.safetensors")],
        rows=ROWS,
        inputs=[{"name": inputs.name, "dtype": inputs.dtype, "shape": list(inputs.shape)}],
        outputs=[described | {"comparator": "embedding", "tolerance": 1e-4}],
        batch_rows=contract.batch_rows,
        memory_bytes=contract.limits.memory_bytes,
        output_bytes_max=contract.limits.output_bytes_max,
        inline_bytes_max=0,
    )


def compute(
    batch: Batch, folder: Path, salt: bytes, *, optimization: str = "all", fault: str = "none"
) -> tuple[UnitDone, bytes]:
    """Run the batch's unit as a car does; return what it would commit to, and its output."""
    contract = read_contract(batch.contract)
    contract = replace(contract, session=replace(contract.session, graph_optimization=optimization))
    runner = RunnerSettings(
        model_path=folder / "model",
        contract=contract,
        memory_bytes=contract.limits.memory_bytes,
        fault=fault,
        walls_off=("idle_priority",),
    )
    job = Job(
        token="car", rows=ROWS, salt=salt.hex(), input_digest="00" * 32,
        input_path=folder / "input", output_path=folder / "car.out",
    )  # fmt: skip
    done = run_once(runner, job, folder=folder)
    assert isinstance(done, UnitDone), done
    return done, (folder / "car.out").read_bytes()


def audit(batch: Batch, folder: Path, **how: Any) -> tuple[Car, OfferedCommitment, str]:
    """Let another car run the unit again and commit to it; return it, its commitment and what it heard."""
    vehicle: Vehicle = make_vehicle()
    put_replica(batch, vehicle=vehicle, state="LEASED", role=AUDIT)
    done, _ = compute(batch, folder, salt_of(batch, vehicle.owner_id), **how)
    token = seal_tokens(settings.FLEET_TOKEN_KEY, [ReplicaRef(batch.id, 0, vehicle.owner_id, 1)])[0]
    commitment = OfferedCommitment(
        token=token,
        digest=bytes.fromhex(done.digest),
        output_bytes=done.output_bytes,
        output=None,
        sketch=bytes.fromhex(done.sketch),
        seconds=1.0,
    )
    car = Car(vehicle)
    return car, commitment, dict(car.sync(commitments=[commitment], at=later(1)).outcomes)[token]


@pytest.fixture
def believed(tmp_path: Path) -> tuple[Batch, bytes]:
    """A unit whose first output is believed and drawn."""
    batch = make_transformer_batch(tmp_path)
    done, output = compute(batch, tmp_path, bytes(16))
    assert done.output_bytes == len(output)
    put_replica(batch, output=output, drawn=True)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE replica SET rows = %s WHERE batch_id = %s", [ROWS, batch.id])
    validate_ready(now=NOW)
    return batch, output


@pytest.mark.parametrize(("optimization", "stage"), [("all", "digest"), ("none", "sketch")])
def test_an_honest_re_run_passes_without_sending_its_output(
    believed: tuple[Batch, bytes], tmp_path: Path, optimization: str, stage: str
) -> None:
    batch, output = believed
    car, commitment, heard = audit(batch, tmp_path, optimization=optimization)
    assert heard == "keep"
    assert ((tmp_path / "car.out").read_bytes() == output) == (stage == "digest"), "another kernel, other last bits"
    validate_ready(now=later(2))
    found = audits_of(batch, reason="drawn")
    assert [(each.state, each.stage) for each in found] == [("passed", stage)]
    assert dict(car.sync(commitments=[commitment], at=later(3)).outcomes)[commitment.token] == "stored"
    kept = [row["output"] for row in rows_of("replica", batch_id=batch.id) if row["role"] == AUDIT]
    assert kept == [None]


@pytest.mark.parametrize("fault", ["wrong", "downgrade"])
def test_a_re_run_that_is_not_the_same_is_asked_for_its_bytes(
    believed: tuple[Batch, bytes], tmp_path: Path, fault: str
) -> None:
    batch, _ = believed
    car, commitment, heard = audit(batch, tmp_path, fault=fault)
    assert heard == "keep"
    validate_ready(now=later(2))
    assert [each.state for each in audits_of(batch, reason="drawn")] == ["open"]
    assert dict(car.sync(commitments=[commitment], at=later(3)).outcomes)[commitment.token] == "upload"
