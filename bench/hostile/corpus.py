"""The corpus: every hand-made attack, then random ones, each made from the seed and its number alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from bench.hostile.handmade import handmade
from bench.hostile.mutate import harm_bytes, harm_fields
from bench.hostile.odd_nodes import odd_node
from bench.hostile.valid import valid


@dataclass(frozen=True, kw_only=True, slots=True)
class Hostile:
    """One model. `must` is `refuse` or `admit` where it is known what the server must say, else empty."""

    name: str
    content: bytes
    must: str = ""


def make_corpus(count: int, *, seed: int, secret_address: int, secret_path: str) -> Iterator[Hostile]:
    """Yield so many models: the valid ones unharmed, those made by hand, and random ones for the rest."""
    sound, attacks = valid(), handmade(secret_address, secret_path)
    made = [Hostile(name=f"valid {name}", content=content, must="admit") for name, content in sound.items()]
    made += [Hostile(name=name, content=content, must="refuse") for name, content in attacks.items()]
    yield from made[:count]
    small = [content for content in attacks.values() if 0 < len(content) < 100_000]
    for number in range(len(made), count):
        yield _random(number, random.Random(f"{seed}:{number}"), list(sound.values()), small)


def _random(number: int, chance: random.Random, sound: list[bytes], attacks: list[bytes]) -> Hostile:
    kind = chance.random()
    if kind < 0.40:
        return Hostile(name=f"{number}: fields", content=harm_fields(chance.choice(sound), chance))
    if kind < 0.60:
        return Hostile(name=f"{number}: bytes", content=harm_bytes(chance.choice(sound), chance))
    if kind < 0.85:
        return Hostile(name=f"{number}: odd node", content=odd_node(chance))
    if kind < 0.95:
        return Hostile(name=f"{number}: odd node, harmed", content=harm_fields(odd_node(chance), chance))
    return Hostile(name=f"{number}: attack, harmed", content=harm_fields(chance.choice(attacks), chance))
