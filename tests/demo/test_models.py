"""The models that packages' contents are built into: do they compute what they are known for?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bench.demo.data import read_airports
from bench.models import DigitsClassifier, build_minilm, tokenize, train_digits

CAR, PLUGGED, CAKE = "The electric car is charging", "An EV is plugged in", "A recipe for apple cake"


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    path = build_minilm(tmp_path_factory.mktemp("models") / "minilm.onnx")
    return onnxruntime.InferenceSession(path)


@pytest.fixture(scope="module")
def digits() -> DigitsClassifier:
    return train_digits()


def embed(session: onnxruntime.InferenceSession, *texts: str) -> np.ndarray:
    return np.asarray(session.run(["embedding"], tokenize(texts))[0])


def test_minilm_gives_vectors_of_length_one(minilm: onnxruntime.InferenceSession) -> None:
    vectors = embed(minilm, CAR, PLUGGED, CAKE)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_minilm_puts_texts_of_one_meaning_together(minilm: onnxruntime.InferenceSession) -> None:
    car, plugged, cake = embed(minilm, CAR, PLUGGED, CAKE)
    assert car @ plugged > 0.4
    assert car @ cake < 0.1
    assert plugged @ cake < 0.1


def test_minilm_takes_no_notice_of_padding(tmp_path: Path, minilm: onnxruntime.InferenceSession) -> None:
    longer = onnxruntime.InferenceSession(build_minilm(tmp_path / "longer.onnx", tokens=32))
    in_32 = longer.run(["embedding"], tokenize([CAR], tokens=32))[0]
    assert np.allclose(in_32, embed(minilm, CAR), atol=1e-5)


def test_a_row_does_not_depend_on_the_rows_beside_it(minilm: onnxruntime.InferenceSession) -> None:
    assert np.allclose(embed(minilm, CAR, CAKE)[0], embed(minilm, CAR)[0], atol=1e-6)


def test_texts_are_cut_and_padded_to_the_same_number_of_tokens() -> None:
    inputs = tokenize(["Eek, Eek, AK", "word " * 100])
    assert {name: values.shape for name, values in inputs.items()} == {
        "input_ids": (2, 16),
        "attention_mask": (2, 16),
        "token_type_ids": (2, 16),
    }
    assert inputs["attention_mask"].sum(axis=1).tolist() == [9, 16]


def test_the_digits_classifier_reads_pictures_that_it_has_not_seen(digits: DigitsClassifier) -> None:
    session = onnxruntime.InferenceSession(digits.onnx)
    label, probabilities = session.run(["label", "probabilities"], {"pixels": digits.images})
    assert (label.dtype, label.shape) == (np.int64, (1797,))
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (1797, 10))
    assert digits.is_unseen.sum() == 899
    assert (label == digits.labels)[digits.is_unseen].mean() > 0.95


def test_training_again_gives_the_same_model(digits: DigitsClassifier) -> None:
    again = onnxruntime.InferenceSession(train_digits().onnx)
    first = onnxruntime.InferenceSession(digits.onnx)
    rows = {"pixels": digits.images[:50]}
    assert np.array_equal(again.run(["probabilities"], rows)[0], first.run(["probabilities"], rows)[0])


def test_there_are_3376_airports_and_none_is_empty() -> None:
    texts = read_airports()
    assert len(texts) == 3376
    assert texts[0] == "Thigpen, Bay Springs, MS"
    assert all(text.strip() for text in texts)
