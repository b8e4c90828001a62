"""MiniLM (90 MB) and enough texts: the demonstration's airport names over and over, as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.demo.data import read_airports
from bench.models import TOKENS, build_minilm, tokenize

BARE_ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The same rows twice: `dataset_path` for the server, a share of them in `rows_path` (NPZ) for the bare loop."""

    model_path: Path
    dataset_path: Path
    rows_path: Path


def make_workload(folder: Path, *, rows: int) -> Workload:
    """Write model and rows."""
    once = tokenize(read_airports())
    inputs = {name: np.resize(ids, (rows, TOKENS)) for name, ids in once.items()}
    columns = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), TOKENS) for name, ids in inputs.items()
    }
    dataset_path, rows_path = folder / "texts.parquet", folder / "texts.npz"
    pq.write_table(pa.table(columns), dataset_path, compression="zstd")
    few: Any = {name: ids[:BARE_ROWS] for name, ids in inputs.items()}
    np.savez(rows_path, **few)
    return Workload(model_path=build_minilm(folder / "minilm.onnx"), dataset_path=dataset_path, rows_path=rows_path)
