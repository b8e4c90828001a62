"""What simulated cars do with a unit: the honest ones, the broken ones and those who lie.

A behaviour sees what a car's owner can see: the input, how many of its results were stored, and whether the fleet has
taken results back (his page says so). It never learns which of its units are re-runs, except from friends.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from bench.trust.http import truth
from bench.trust.http.truth import Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A unit as a car has it."""

    inputs: Rows
    digest: bytes
    salt: bytes


@dataclass(kw_only=True, slots=True)
class Experience:
    """What an owner knows of a car: results that were stored since its trust was last taken, and how often it was."""

    stored: int = 0
    resets: int = 0


class Honest:
    """Computes what it is asked for, with its class's noise."""

    is_adversary = False
    # Whether its owner signs up anew, with a new car, when its trust was taken.
    returns = False
    # How often it calls; None: when its units are done.
    call_seconds: float | None = None

    def __init__(self, comparison_class: str, rng: random.Random) -> None:
        self.comparison_class = comparison_class
        self.rng = rng

    def asks(self, wanted: int) -> int:
        """Return how many units the car asks for, which should carry so many."""
        return wanted

    def keeps(self, digest: bytes) -> bool:
        """Return whether the car runs a unit with this input, or hands it back with its next call."""
        return True

    def compute(self, work: Work, known: Experience) -> Rows:
        """Return the output that the car will report."""
        return self.right(work)

    def forges(self, work: Work, known: Experience) -> bytes | None:
        """Return a commitment to bytes that the car does not have; None for an honest one."""
        return None

    def right(self, work: Work) -> Rows:
        """Return the right output."""
        return truth.with_noise(truth.compute(work.inputs), self.comparison_class, work.digest)

    def made_up(self, work: Work) -> Rows:
        """Return an output that nobody else would make up."""
        shape = (len(work.inputs), truth.CLASSES)
        return np.random.default_rng(self.rng.getrandbits(64)).normal(scale=4.0, size=shape).astype(np.float32)


class Faulty(Honest):
    """A broken machine: in one unit of five some number is wrong."""

    is_adversary = True
    share = 0.2

    def compute(self, work: Work, known: Experience) -> Rows:
        """Flip a number now and then."""
        outputs = self.right(work)
        if self.rng.random() < self.share:
            outputs[self.rng.randrange(len(outputs)), self.rng.randrange(truth.CLASSES)] += np.float32(8.0)
        return outputs


class Cheater(Honest):
    """Computes nothing, ever."""

    is_adversary = True

    def compute(self, work: Work, known: Experience) -> Rows:
        """Make it up."""
        return self.made_up(work)


class Sleeper(Honest):
    """Honest until it has been believed for a while, then never; and again, once its trust was taken."""

    is_adversary = True
    patience = 40

    def compute(self, work: Work, known: Experience) -> Rows:
        """Make it up once patience has paid."""
        return self.made_up(work) if known.stored >= self.patience else self.right(work)


class Returner(Honest):
    """Cheats in half of its units; whenever it is caught, its owner comes back under another name."""

    is_adversary = True
    returns = True

    def compute(self, work: Work, known: Experience) -> Rows:
        """Make up every other one."""
        return self.made_up(work) if self.rng.random() < 1 / 2 else self.right(work)


@dataclass(slots=True)
class Ring:
    """What friends tell each other: on which inputs one of them has lied."""

    lies: set[bytes] = field(default_factory=set)

    def lie(self, work: Work) -> Rows:
        """Return the wrong output that all friends agree on."""
        self.lies.add(work.digest)
        seed = int.from_bytes(work.digest[:8], "big")
        shape = (len(work.inputs), truth.CLASSES)
        return np.random.default_rng(seed).normal(scale=4.0, size=shape).astype(np.float32)


class Colluder(Honest):
    """Honest until believed, then lies in half of its units as its friends would; and confirms every lie of theirs."""

    is_adversary = True
    patience = 20

    def __init__(self, comparison_class: str, rng: random.Random, ring: Ring) -> None:
        super().__init__(comparison_class, rng)
        self.ring = ring

    def compute(self, work: Work, known: Experience) -> Rows:
        """Repeat what friends said; else lie where it pays."""
        lies = work.digest in self.ring.lies or (known.stored >= self.patience and self.rng.random() < 1 / 2)
        return self.ring.lie(work) if lies else self.right(work)


class Fisher(Colluder):
    """A colluder who looks for his friends' audits: takes more units than he can run, often, and hands back the rest.

    What he keeps beside audits of his friends' lies is what any car would have done in that time.
    """

    call_seconds = 300.0
    asks_for = 8
    calls_per_unit = 4

    def __init__(self, comparison_class: str, rng: random.Random, ring: Ring) -> None:
        super().__init__(comparison_class, rng, ring)
        self._calls = 0
        self._kept = 0

    def asks(self, wanted: int) -> int:
        """Ask for as many as there may be audits."""
        self._calls += 1
        return self.asks_for

    def keeps(self, digest: bytes) -> bool:
        """Keep what a friend lied about, and one other unit now and then."""
        is_due = self._kept * self.calls_per_unit < self._calls
        if digest in self.ring.lies or not is_due:
            return digest in self.ring.lies
        self._kept += 1
        return True


class LazyCopier(Honest):
    """Repeats an output that it once computed, or commits to a digest of nothing and hopes not to be asked."""

    is_adversary = True

    def __init__(self, comparison_class: str, rng: random.Random) -> None:
        super().__init__(comparison_class, rng)
        self._once: Rows | None = None

    def compute(self, work: Work, known: Experience) -> Rows:
        """Compute once, then repeat."""
        if self._once is None or len(self._once) != len(work.inputs):
            self._once = self.right(work)
        return self._once

    def forges(self, work: Work, known: Experience) -> bytes | None:
        """Commit to a random digest in one unit of four."""
        return self.rng.randbytes(32) if self.rng.random() < 1 / 4 else None


class HalfPrecision(Honest):
    """Runs the model in half precision and says that it did not: twice the units for the same power."""

    is_adversary = True

    def compute(self, work: Work, known: Experience) -> Rows:
        """Compute cheaply."""
        return truth.compute_in_half(work.inputs)


class KernelBug(Honest):
    """An honest car of a class whose runtime computes wrongly from an update on, in all cars alike, until it is mended.

    A class that was wrong from its first unit on would never be believed, and no alarm would excuse it.
    """

    is_adversary = True
    update_after = 30

    def __init__(self, comparison_class: str, rng: random.Random) -> None:
        super().__init__(comparison_class, rng)
        self.is_mended = False
        self._computed = 0

    def right(self, work: Work) -> Rows:
        """Return what the kernel of the day says."""
        outputs = super().right(work)
        self._computed += 1
        if self._computed > self.update_after and not self.is_mended:
            outputs[:, ::4] *= np.float32(1.02)
        return outputs
