"""Which outputs of a unit agree: the quorum rule over distances, independent of the order of arrival.

Tolerance is not transitive, so agreement is never chained: outputs count together only where each is within the
tolerance of each other one (a clique). Equal outputs are grouped by digest first and need no bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Final, NamedTuple

from workunits.domain.comparison import MATCH_MAX, MISMATCH_MIN, OutputSpec, measure_distance
from workunits.domain.quorum import Agreement
from workunits.domain.states import ReplicaState

# The search looks at every subset: 127 of them.
GROUPS_MAX: Final = 7


class CandidateOutput(NamedTuple):
    """An output that may become canonical: whose it is, and SHA-256 of its bytes as we computed it."""

    owner_id: int
    digest: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Indexes of groups of equal outputs. Undecided where `canonical` is None: then the rest is empty too."""

    canonical: int | None = None
    valid: tuple[int, ...] = ()
    invalid: tuple[int, ...] = ()
    inconclusive: tuple[int, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether a quorum agrees."""
        return self.canonical is not None


def group_outputs(sizes: Sequence[int], distance: Callable[[int, int], float], quorum: int) -> Verdict:
    """Return which groups agree; `sizes[i]` outputs are equal to the last bit in group `i`.

    Decided only by the one largest clique, with at least `quorum` outputs; the canonical group is its medoid, the
    lowest index where two are equally central. `distance` must be symmetric; it is asked once for each pair of groups.
    """
    if len(sizes) > GROUPS_MAX:
        raise ValueError(f"{len(sizes)} different outputs of one unit are more than {GROUPS_MAX}")
    far = {pair: distance(*pair) for pair in combinations(range(len(sizes)), 2)}

    def between(i: int, j: int) -> float:
        return 0.0 if i == j else far[min(i, j), max(i, j)]

    clique = _largest_clique(sizes, far)
    if clique is None or sum(sizes[i] for i in clique) < quorum:
        return Verdict()
    canonical = min(clique, key=lambda i: (sum(sizes[j] * between(i, j) for j in clique), i))
    indexes = range(len(sizes))
    return Verdict(
        canonical=canonical,
        valid=tuple(i for i in indexes if between(canonical, i) <= MATCH_MAX),
        invalid=tuple(i for i in indexes if between(canonical, i) >= MISMATCH_MIN),
        inconclusive=tuple(i for i in indexes if MATCH_MAX < between(canonical, i) < MISMATCH_MIN),
    )


def _largest_clique(sizes: Sequence[int], far: dict[tuple[int, int], float]) -> tuple[int, ...] | None:
    """Return the clique that holds the most outputs, or None where two hold as many. At most 127 subsets."""
    best: tuple[int, ...] | None = None
    best_size = 0
    for count in range(1, len(sizes) + 1):
        for subset in combinations(range(len(sizes)), count):
            size = sum(sizes[i] for i in subset)
            if size >= best_size and all(far[pair] <= MATCH_MAX for pair in combinations(subset, 2)):
                best, best_size = (None if size == best_size else subset), size
    return best


def decide(
    outputs: Sequence[CandidateOutput],
    quorum: int,
    load: Callable[[int], bytes],
    specs: Sequence[OutputSpec],
) -> Agreement | None:
    """Return who agrees about a unit, or None where no unique quorum does and another replica is needed.

    `load(owner_id)` gives that owner's output, a checked safetensors document; it is called at most once for each
    different digest, and not at all where all are equal.
    """
    owners_by_digest: dict[bytes, list[int]] = {}
    for output in sorted(outputs):
        owners_by_digest.setdefault(output.digest, []).append(output.owner_id)
    groups = list(owners_by_digest.values())

    @cache
    def document(index: int) -> bytes:
        return load(groups[index][0])

    verdict = group_outputs(
        [len(group) for group in groups],
        lambda i, j: measure_distance(document(i), document(j), specs),
        quorum,
    )
    if verdict.canonical is None:
        return None

    def owners(indexes: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(owner for index in indexes for owner in groups[index]))

    return Agreement(
        canonical_owner_id=groups[verdict.canonical][0],
        valid=owners(verdict.valid),
        invalid=owners(verdict.invalid),
        inconclusive=owners(verdict.inconclusive),
    )


def place(canonical: bytes, output: bytes, specs: Sequence[OutputSpec]) -> ReplicaState:
    """Return what becomes of an output that is measured by a canonical one; it came in after the verdict."""
    distance = measure_distance(canonical, output, specs)
    if distance <= MATCH_MAX:
        return ReplicaState.VALID
    return ReplicaState.INVALID if distance >= MISMATCH_MIN else ReplicaState.INCONCLUSIVE
