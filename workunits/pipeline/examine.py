"""The admission service's own look at a model: it believes nothing that the web tier wrote about it.

The bytes are copied to a place of its own before they are hashed and examined, so that whoever can write to the blob
store cannot show the examination one file and let another be signed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from workunits.sandbox.admit import admit
from workunits.sandbox.report import AdmissionRequest, ModelFacts
from workunits.store.admissions import AskedModel
from workunits.store.blobs import BlobMissing, get_blob_store
from workunits.trust.folder import SCRATCH_PREFIX

# The dry run's peak of memory differs between two runs; everything else must be equal.
MEMORY_RATIO_MAX: Final = 1.5
MEMORY_SLACK_BYTES: Final = 64 * 1024 * 1024

Examine = Callable[[Path, AdmissionRequest], ModelFacts]


# A child that locks itself as an examination does, and says which locks held.
_PROBE: Final = (
    "import os, sys; sys.path.insert(0, sys.argv[1]);"
    "from workunits.sandbox import jail; from workunits.sandbox.report import AdmissionLimits;"
    "print(*jail.lock_down(AdmissionLimits(), parent_pid=int(sys.argv[2])))"
)


class NotAsStated(Exception):
    """What the web tier says of a model is not what the service found; the text says in what."""


def list_sandbox_locks() -> frozenset[str]:
    """Return the locks that hold around an examination on this machine; empty where it cannot even be started."""
    root = Path(__file__).resolve().parents[2]
    argv = [sys.executable, "-I", "-c", _PROBE, str(root), str(os.getpid())]
    probe = subprocess.run(argv, capture_output=True, text=True, check=False, env={})
    return frozenset(probe.stdout.split()) if probe.returncode == 0 else frozenset()


def examine_model(asked: AskedModel, *, scratch: Path, examine: Examine = admit) -> tuple[Mapping[str, Any], int]:
    """Return the facts and the size of a model's own bytes. `scratch` is a folder that only this service may write.

    Raises ModelRefused or NotAsStated.
    """
    request = _read_request(asked.request)
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=scratch) as folder:
        copy = Path(folder) / "model.onnx"
        try:
            with get_blob_store().local_path(asked.sha256) as path:
                shutil.copyfile(path, copy)
        except BlobMissing:
            raise NotAsStated("the model's bytes are not in the blob store") from None
        with copy.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != asked.sha256:
            raise NotAsStated("the stored bytes have another hash than the name they are stored under")
        size_bytes = copy.stat().st_size
        facts = asdict(examine(copy, request))
    _compare(asked.facts, facts)
    if size_bytes != asked.size_bytes:
        raise NotAsStated(f"the file has {size_bytes} bytes, the web tier says {asked.size_bytes}")
    return facts, size_bytes


def _read_request(stated: Mapping[str, Any]) -> AdmissionRequest:
    """Return the request of an examination with our own limits, whatever else the web tier may have written."""
    try:
        dims = {str(name): int(size) for name, size in stated["fixed_dims"].items()}
        outputs = stated["outputs"]
        if outputs is not None:
            outputs = [dict(output) for output in outputs]
        return AdmissionRequest(fixed_dims=dims, batch_rows=int(stated["batch_rows"]), outputs=outputs)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NotAsStated("the request for its admission cannot be read") from None


def _compare(stated: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse facts that differ from what the examination found. Raises NotAsStated naming the first."""
    for name, value in stated.items():
        if name == "memory_bytes":
            low, high = sorted((int(value), int(found[name])))
            is_same = high <= MEMORY_RATIO_MAX * low + MEMORY_SLACK_BYTES
        else:
            is_same = json.dumps(value, sort_keys=True) == json.dumps(found[name], sort_keys=True)
        if not is_same:
            raise NotAsStated(f"the web tier's {name} is not what the examination found")
