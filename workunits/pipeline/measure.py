"""How a drain compares outputs of one unit: by digest as long as that decides, by their bytes once those were read."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from workunits.domain.audits.ladder import Evidence, Finding, Stage, Step, judge_audit
from workunits.domain.comparison import OutputSpec, measure_distance
from workunits.domain.quorum import ReplicaView
from workunits.domain.sketch import judge_sketch
from workunits.domain.tokens import ReplicaRef, make_salt, seal_tokens
from workunits.store.batches import SpecsBook


class BytesNeeded(Exception):
    """The digests differ, so the outputs themselves must be read, outside the transaction."""


class Measures:
    """Comparisons within one unit. `outputs` by owner; None while only digests may be looked at."""

    def __init__(self, batch_id: int, unit_number: int, outputs: Mapping[int, bytes] | None, book: SpecsBook) -> None:
        self.batch_id, self.unit_number = batch_id, unit_number
        self._outputs, self._book = outputs, book

    @property
    def outputs(self) -> Mapping[int, bytes]:
        """The bytes that are here, by owner. Raises BytesNeeded where they were not read."""
        if self._outputs is None:
            raise BytesNeeded
        return self._outputs

    def find(self, canonical: ReplicaView, check: ReplicaView) -> Finding:
        """Return what the digest ladder says of `check`. Raises BytesNeeded."""
        if canonical.digest is not None and canonical.digest == check.digest:
            return Finding(Step.AGREES, Stage.DIGEST, 0.0)
        outputs = self.outputs
        evidence = Evidence(
            commitment=check.commitment or b"",
            salt=self._salt(check),
            sketch=check.sketch,
            output=outputs.get(check.owner_id),
        )
        return judge_audit(outputs[canonical.owner_id], evidence, self.specs(canonical, check), judge_sketch)

    def distance(self, first: ReplicaView, second: ReplicaView) -> float:
        """Return how far two outputs are apart whose bytes are here, in tolerances. Raises BytesNeeded."""
        if first.digest is not None and first.digest == second.digest:
            return 0.0
        outputs = self.outputs
        return measure_distance(outputs[first.owner_id], outputs[second.owner_id], self.specs(first, second))

    def specs(self, *replicas: ReplicaView) -> tuple[OutputSpec, ...]:
        """Return how these replicas' outputs are compared: with the largest of their classes' tolerances."""
        return self._book.between(replica.comparison_class for replica in replicas)

    def _salt(self, replica: ReplicaView) -> bytes:
        key = settings.FLEET_TOKEN_KEY
        ref = ReplicaRef(self.batch_id, self.unit_number, replica.owner_id, replica.attempt)
        return make_salt(key, seal_tokens(key, [ref])[0])
