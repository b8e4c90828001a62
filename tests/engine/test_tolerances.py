"""Tolerances as rows: which one holds in a class, and what audits that agreed may change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.engine.factories import NOW, make_batch, make_vehicle
from workunits.domain.quorum import ReplicaView
from workunits.models import Audit, Batch, ModelTolerance, OwnerCluster
from workunits.pipeline.calibrate import learn_tolerances
from workunits.pipeline.measure import Measures
from workunits.store.batches import SpecsBook, get_comparison_specs
from workunits.store.tolerances import record_tolerances

pytestmark = pytest.mark.django_db

OUTPUT = "score"  # dense, its cap is 1e-4
LATER = NOW + timedelta(hours=1)
X86, ARM = "cpu-fp32-ort1.32-all-avx2", "cpu-fp32-ort1.32-all-neon"


@pytest.fixture
def batch() -> Batch:
    found = make_batch()
    calibrate(found)
    return found


def calibrate(batch: Batch, comparison_class: str = "", tolerance: float = 1e-5, **values: Any) -> None:
    row = {
        "output": OUTPUT, "comparison_class": comparison_class, "tolerance": tolerance, "observed_max": 1e-7,
        "cheaper_distance": 5e-4, "samples": 32,
    }  # fmt: skip
    record_tolerances(batch.model_id, [{**row, **values}], now=NOW)


def tolerance(batch: Batch, comparison_class: str = "") -> float:
    (spec,) = get_comparison_specs(batch.id, comparison_class)
    return spec.tolerance


def audited(batch: Batch, distance: float | None, **values: Any) -> Audit:
    """Write an audit that agreed at `distance` tolerances. By default an anchor audited a car of its own class."""
    car = make_vehicle()
    columns = {
        "unit_number": Audit.objects.count(), "vehicle": car, "owner_id": car.owner_id, "sequence": 1, "level": 2,
        "weight_microcredits": 1, "reason": "drawn", "needs": "car", "state": "passed", "created_at": NOW,
        "opens_at": NOW, "resolved_at": LATER, "primary_class": X86, "auditor_class": X86, "auditor_owner_id": 0,
        "auditor_vehicle_id": 0, "stage": "tensors", "distance": distance,
    }  # fmt: skip
    return Audit.objects.create(batch=batch, **{**columns, **values})


def learn() -> int:
    return learn_tolerances(now=LATER + timedelta(hours=1))


def test_a_model_without_a_calibration_is_compared_as_its_description_says() -> None:
    assert tolerance(make_batch()) == 1e-4


def test_an_admitted_model_is_compared_by_what_was_measured_of_it(tmp_path) -> None:
    from bench.models.selftest import make_convolution
    from workunits.models import OnnxModel, Project
    from workunits.pipeline.intake import admit_model

    path = tmp_path / "model.onnx"
    path.write_bytes(make_convolution()[0].SerializeToString())
    project = Project.objects.create(name="research")
    model = admit_model(project_id=project.pk, name="convolution", path=path, now=NOW)
    (row,) = model.tolerances.all()
    assert (row.output, row.comparison_class, row.source, row.samples) == ("logits", "", "admission", 32)
    assert row.cheaper_distance is not None
    assert row.observed_max * 10 <= row.tolerance < row.cheaper_distance / 4
    found = make_batch()
    Batch.objects.filter(id=found.id).update(model=OnnxModel.objects.get(id=model.pk))
    assert tolerance(found) == row.tolerance < model.outputs[0]["tolerance"]


def test_a_class_has_its_own_tolerance_or_else_the_general_one(batch) -> None:
    calibrate(batch, ARM, 3e-5)
    assert [tolerance(batch, name) for name in ("", X86, ARM)] == [1e-5, 1e-5, 3e-5]


def test_8_bit_outputs_have_one_tolerance_within_any_class_and_one_across(batch) -> None:
    calibrate(batch, "*", 5e-6)
    assert [tolerance(batch, name) for name in ("", X86, ARM)] == [1e-5, 5e-6, 5e-6]


def test_across_classes_the_general_tolerance_counts_too(batch) -> None:
    calibrate(batch, "*", 5e-6)
    measures = Measures(batch.id, 0, None, SpecsBook(batch.id))
    intel, arm = (ReplicaView(owner_id=1, state="REPORTED", comparison_class=name) for name in (X86, ARM))
    assert measures.specs(intel, intel)[0].tolerance == 5e-6
    assert measures.specs(intel, arm)[0].tolerance == 1e-5


def test_an_operators_device_widens_the_tolerance_of_a_class_by_what_it_saw_of_three_clusters(batch) -> None:
    audited(batch, 0.9)
    audited(batch, 0.8)
    assert learn() == 0  # two noisy cars, or two that would like to be
    audited(batch, 0.5)
    assert learn() == 1
    row = ModelTolerance.objects.get(model_id=batch.model_id, comparison_class=X86)
    assert row.tolerance == pytest.approx(5e-5)
    assert row.observed_max == pytest.approx(5e-6)
    assert (row.source, row.samples, row.cheaper_distance) == ("operator", 3, 5e-4)
    assert [tolerance(batch, name) for name in ("", X86, ARM)] == [1e-5, pytest.approx(5e-5), 1e-5]


def test_distances_are_in_the_tolerance_that_they_were_measured_with(batch) -> None:
    calibrate(batch, ARM, 4e-5)
    for _ in range(3):
        audited(batch, 0.1, primary_class=ARM)  # across classes: 0.1 of the wider tolerance
    assert learn() == 1
    assert tolerance(batch, X86) == pytest.approx(4e-5)
    assert tolerance(batch, ARM) == pytest.approx(4e-5)


def test_what_was_seen_before_the_last_change_is_in_another_unit(batch) -> None:
    for _ in range(3):
        audited(batch, 0.5)
    assert (learn(), learn()) == (1, 0)


@pytest.mark.parametrize(
    "values", [{"state": "failed"}, {"state": "inconclusive"}, {"reason": "auditing"}, {"primary_class": ""}]
)
def test_only_audits_that_agreed_between_known_classes_teach_anything(batch, values) -> None:
    for _ in range(3):
        audited(batch, 0.5, **values)
    assert learn() == 0
    assert tolerance(batch, X86) == 1e-5


def test_two_clusters_of_cars_teach_nothing_and_three_do(batch) -> None:
    def by_cars(distance: float) -> None:
        audited(batch, distance, auditor_owner_id=make_vehicle().owner_id)

    by_cars(0.9)
    by_cars(0.8)
    assert learn() == 0
    by_cars(0.3)
    assert learn() == 1
    row = ModelTolerance.objects.get(model_id=batch.model_id, comparison_class=X86)
    assert row.tolerance == pytest.approx(3e-5)
    assert row.source == "audits"


def test_owners_of_one_cluster_are_one_party(batch) -> None:
    owners = [make_vehicle().owner_id for _ in range(3)]
    for owner_id in owners:
        audited(batch, 0.9, auditor_owner_id=owner_id)
    OwnerCluster.objects.bulk_create(
        OwnerCluster(owner_id=owner_id, cluster_id=owners[0], computed_at=NOW) for owner_id in owners
    )
    assert learn() == 0


def test_equal_outputs_count_as_no_distance_at_all(batch) -> None:
    calibrate(batch, X86, 8e-5)
    for _ in range(3):
        audited(batch, None, stage="digest")
    assert learn() == 0  # narrowing needs hundreds
    assert tolerance(batch, X86) == 8e-5
