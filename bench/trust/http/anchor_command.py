"""What stands for the vehicle client's `anchor` command in a run: the same files and the same answer, no runtime.

    python -I -S anchor_command.py WEIGHTS anchor check|run OPTIONS

It is started thousands of times, so it imports neither numpy nor anything of this project: the network of
`bench.trust.http.truth` is small enough for plain Python.
"""

from __future__ import annotations

import array
import hashlib
import json
import math
import sys
from pathlib import Path

CLASS = "cpu-fp32-ort1.32-anchor"


def read_rows(document: bytes, width: int) -> list[array.array[float]]:
    """Return the rows of the one tensor in a safetensors document."""
    data_at = 8 + int.from_bytes(document[:8], "little")
    values = array.array("f", document[data_at:])
    return [values[start : start + width] for start in range(0, len(values), width)]


def write_document(rows: list[list[float]], name: str) -> bytes:
    """Return a safetensors document of one tensor, as its own library would write it."""
    data = array.array("f", [value for row in rows for value in row]).tobytes()
    shape = [len(rows), len(rows[0])]
    header = json.dumps(
        {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}}, separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def main(arguments: list[str]) -> None:
    """Answer `check`, or run a unit."""
    weights_path, _, action, *options = arguments
    if action == "check":
        print(json.dumps({"class": CLASS, "walls": {}}))
        return
    given = dict(option.removeprefix("--").split("=", 1) for option in options)
    network = json.loads(Path(weights_path).read_bytes())
    columns = list(zip(*network["weights"], strict=True))
    rows = read_rows(Path(given["input"]).read_bytes(), len(network["weights"]))
    outputs = []
    for row in rows:
        hidden = [math.tanh(value) for value in row]
        outputs.append([network["scale"] * sum(map(float.__mul__, hidden, column)) for column in columns])
    document = write_document(outputs, network["output"])
    Path(given["output"]).write_bytes(document)
    digest = hashlib.sha256(document).hexdigest()
    print(
        json.dumps(
            {
                "outcome": "done",
                "sha256": digest,
                "bytes": len(document),
                "digest": None,
                "sketch": None,
                "class": CLASS,
                "seconds": 1.0,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
