"""What a commitment costs on the wire, whatever its output is: every replica sends one, and most send no more."""

from __future__ import annotations

from dataclasses import replace

from fleetclient import wire
from fleetcompute.api.vehicle.frames import read_frame
from fleetcompute.api.vehicle.messages import ITEMS_MAX, TEXT_CHARS_MAX, read_sync
from tests.contract.make_wire import FOLDER
from tests.contract.test_client_wire import read, request_of
from workunits.domain.sketch import SKETCH_BYTES

COMMITMENT_BYTES_MAX = 1_000


def test_the_largest_commitment_that_the_server_takes_stays_below_a_kilobyte() -> None:
    """With the longest token, the largest numbers, and an offset behind the sketches of all others."""
    largest = wire.Commitment(
        token="t" * TEXT_CHARS_MAX, digest="f" * 64, inline=None, bytes=2**40, seconds=999_999_999.123456,
        sketch=b"\xff" * SKETCH_BYTES,
    )  # fmt: skip
    output, sketch = (FOLDER / "output.safetensors").read_bytes(), bytes(SKETCH_BYTES)
    request = request_of(read("sync_request.json") | {"commitments": []}, output, sketch)
    without = len(wire.encode_sync_request(request))
    frame = wire.encode_sync_request(replace(request, commitments=(largest,) * ITEMS_MAX))
    assert (len(frame) - without) / ITEMS_MAX < COMMITMENT_BYTES_MAX
    content, attachments = read_frame(frame)
    taken = read_sync(content, attachments, counter=1).commitments
    assert {item.sketch for item in taken} == {largest.sketch}
    assert len(taken) == ITEMS_MAX
