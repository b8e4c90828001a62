"""The models that are tried, with rows for each: two real ones and six made ones, with outputs of every kind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.models import build_minilm, train_digits
from bench.models.selftest import CHANNELS, PIXELS, SIDE, TOKENS, WIDTH, X_SCALE
from bench.models.selftest import MAKERS as SELFTEST
from bench.models.vision import SIDE as IMAGE_SIDE
from bench.models.vision import make_detector, make_segmenter

Rows = dict[str, np.ndarray[Any, Any]]

TEXT_TOKENS: Final = 16
WORDS: Final = 30_000


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to try.

    Attributes:
        honest_rows: how many rows every honest way runs.
        units: units of a downgrade; 0 for a model that has no cheaper precision.
        outputs: what the researcher states of outputs, as at an upload.
    """

    name: str
    onnx: bytes
    make_rows: Callable[[int, np.random.Generator], Rows]
    honest_rows: int
    units: int
    seed: int
    outputs: list[dict[str, Any]] | None = None

    def rows(self, count: int) -> Rows:
        """Return so many rows; the same for the same seed."""
        return self.make_rows(count, np.random.default_rng(self.seed))


def list_subjects(seed: int, *, is_quick: bool) -> Iterator[Subject]:
    """Yield the models, those first that are made in no time."""

    def subject(name: str, onnx: bytes, make: Callable[..., Rows], honest: int, units: int, **more: Any) -> Subject:
        share = 20 if is_quick else 1
        return Subject(
            name=name,
            onnx=onnx,
            make_rows=make,
            honest_rows=max(32, honest // share),
            units=units and max(2, units // share),
            seed=seed,
            **more,
        )

    made = {name: bytes(make()[0].SerializeToString()) for name, make in SELFTEST.items()}
    yield subject("convolution", made["convolution"], _normal("image", CHANNELS, SIDE, SIDE), 600, 1200)
    yield subject("transformer", made["transformer"], _normal("tokens", TOKENS, WIDTH), 600, 1200)
    yield subject("quantised", made["quantised"], _pixels, 600, 0)
    images = _normal("image", 3, IMAGE_SIDE, IMAGE_SIDE)
    detections = [{"name": "detections", "comparator": "detections"}]
    yield subject("detector", bytes(make_detector().SerializeToString()), images, 300, 250, outputs=detections)
    yield subject("segmenter", bytes(make_segmenter().SerializeToString()), images, 200, 120)
    digits = train_digits()
    yield subject("digits", digits.onnx, _digits(digits.images), 600, 1200)
    with tempfile.TemporaryDirectory() as folder:
        minilm = build_minilm(Path(folder) / "minilm.onnx", tokens=TEXT_TOKENS).read_bytes()
    yield subject("minilm", minilm, _texts, 160, 60)


def _normal(name: str, *shape: int) -> Callable[[int, np.random.Generator], Rows]:
    return lambda count, random: {name: random.normal(size=(count, *shape)).astype(np.float32)}


def _pixels(count: int, random: np.random.Generator) -> Rows:
    return {"pixels": (np.rint(random.uniform(0, 96, size=(count, PIXELS))) * X_SCALE).astype(np.float32)}


def _digits(images: np.ndarray[Any, Any]) -> Callable[[int, np.random.Generator], Rows]:
    """Return rows of real pictures, each with some noise, so that there can be more rows than pictures."""

    def make(count: int, random: np.random.Generator) -> Rows:
        chosen = images[random.integers(0, len(images), size=count)]
        return {"pixels": np.clip(chosen + random.normal(size=chosen.shape), 0, 16).astype(np.float32)}

    return make


def _texts(count: int, random: np.random.Generator) -> Rows:
    """Return texts of random words and lengths."""
    mask = (np.arange(TEXT_TOKENS)[None, :] < random.integers(3, TEXT_TOKENS + 1, size=(count, 1))).astype(np.int64)
    words = random.integers(1000, WORDS, size=(count, TEXT_TOKENS)) * mask
    return {"input_ids": words, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
