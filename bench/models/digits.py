"""A classifier of handwritten digits: trained in a second on half of scikit-learn's 1,797 pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HIDDEN: Final = (128,)
OPSET: Final = {"": 17, "ai.onnx.ml": 3}
INPUT: Final = "pixels"


@dataclass(frozen=True, kw_only=True)
class DigitsClassifier:
    """The model and what it was made from.

    Attributes:
        onnx: the model file; input `pixels` F32 [64], outputs `label` I64 [] and `probabilities` F32 [10].
        images: all pictures, F32 `[1797, 64]`, grey values 0 to 16.
        labels: what they show, I64 `[1797]`.
        is_unseen: the half that was kept from training.
    """

    onnx: bytes
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    is_unseen: npt.NDArray[np.bool_]


def train_digits(*, seed: int = 0) -> DigitsClassifier:
    """Train on one half of the pictures and convert to ONNX; the same seed gives the same split and weights."""
    digits: Any = load_digits()
    images = digits.data.astype(np.float32)
    labels = digits.target.astype(np.int64)
    seen, unseen = train_test_split(np.arange(len(labels)), train_size=0.5, stratify=labels, random_state=seed)
    network = MLPClassifier(HIDDEN, max_iter=400, random_state=seed).fit(images[seen], labels[seen])
    # Without the zip map, which would make the probabilities a list of dictionaries.
    row = [(INPUT, FloatTensorType([None, images.shape[1]]))]
    model = to_onnx(network, initial_types=row, options={"zipmap": False}, target_opset=OPSET, name="digits")
    is_unseen = np.zeros(len(labels), np.bool_)
    is_unseen[unseen] = True
    return DigitsClassifier(onnx=model.SerializeToString(), images=images, labels=labels, is_unseen=is_unseen)
