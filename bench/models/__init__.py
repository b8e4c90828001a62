"""ONNX models built from what installed packages contain: for the demonstration, the benchmarks and tests.

`build_minilm` makes a sentence-embedding model of 90 MB, `train_digits` a classifier of 30 kB. Nothing is downloaded.
"""

from __future__ import annotations

from bench.models.digits import DigitsClassifier, train_digits
from bench.models.minilm import build_minilm
from bench.models.tokens import TOKENS, load_tokenizer, tokenize

__all__ = ["TOKENS", "DigitsClassifier", "build_minilm", "load_tokenizer", "tokenize", "train_digits"]
