"""What the researcher brings: two models and the rows to run them over, all out of installed packages.

Texts: the 3,376 airports of vega-datasets, each as "name, city, state". Pictures: scikit-learn's 1,797 digits.
"""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bench.models import TOKENS, build_minilm, tokenize, train_digits

TEXT_PACKAGE: Final = "vega_datasets"
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model, its dataset, and the same rows in memory for the check at the end.

    Attributes:
        key: short name, also of the result file.
        title: how progress and tables call it.
        model_name, dataset_name: what the researcher calls them.
        format: `parquet` or `npz`, of the dataset and of the result.
        inputs: `{name: [rows, *shape]}`.
        notes: the texts of the rows, or their labels.
    """

    key: str
    title: str
    model_name: str
    dataset_name: str
    format: str
    model_path: Path
    dataset_path: Path
    inputs: dict[str, Array]
    notes: Any

    @property
    def rows(self) -> int:
        """How many rows the dataset has."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, kw_only=True)
class DigitLabels:
    """What the pictures really show, and which of them the classifier has not seen."""

    labels: npt.NDArray[np.int64]
    is_unseen: npt.NDArray[np.bool_]


def read_airports() -> list[str]:
    """Return the texts; a missing part (some have no city) is left out."""
    found = importlib.util.find_spec(TEXT_PACKAGE)
    if found is None or found.origin is None:
        raise RuntimeError(f"The package {TEXT_PACKAGE} is not installed; `make demo` installs it.")
    with (Path(found.origin).parent / "_data" / "airports.csv").open(encoding="utf-8", newline="") as file:
        return [", ".join(part for part in _parts(row) if part) for row in csv.DictReader(file)]


def _parts(row: dict[str, str]) -> list[str]:
    return [row[name].strip() for name in ("name", "city", "state")]


def make_airports(folder: Path, *, rows_max: int | None) -> Workload:
    """Write the text model and its dataset: token ids as Parquet, beside the texts, which the model does not take."""
    texts = read_airports()[:rows_max]
    inputs = tokenize(texts)
    columns = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), TOKENS) for name, ids in inputs.items()
    }
    dataset_path = folder / "airports.parquet"
    pq.write_table(pa.table({"text": pa.array(texts), **columns}), dataset_path, compression="zstd")
    return Workload(
        key="airports",
        title="Airport names (MiniLM)",
        model_name="all-MiniLM-L6-v2",
        dataset_name="US airport names",
        format="parquet",
        model_path=build_minilm(folder / "minilm.onnx"),
        dataset_path=dataset_path,
        inputs=dict(inputs),
        notes=texts,
    )


def make_digits(folder: Path, *, rows_max: int | None) -> Workload:
    """Write the classifier and the pictures as NPZ."""
    trained = train_digits()
    model_path, dataset_path = folder / "digits.onnx", folder / "digits.npz"
    model_path.write_bytes(trained.onnx)
    images = trained.images[:rows_max]
    np.savez(dataset_path, pixels=images)
    return Workload(
        key="digits",
        title="Handwritten digits",
        model_name="Digits classifier",
        dataset_name="Handwritten digits",
        format="npz",
        model_path=model_path,
        dataset_path=dataset_path,
        inputs={"pixels": images},
        notes=DigitLabels(labels=trained.labels[:rows_max], is_unseen=trained.is_unseen[:rows_max]),
    )
