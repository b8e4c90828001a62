"""Which columns can feed which inputs."""

from __future__ import annotations

import pytest

from workunits.domain.columns import find_misfits
from workunits.domain.types import TensorSpec


def column(dtype: str, *shape: int, name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        (column("F32", 4), column("F32", 4)),
        (column("F64"), column("F32")),
        (column("I64"), column("I32")),
        (column("U8", 784), column("I64", 1, 28, 28)),
        (column("F32", 28, 28), column("F32", 1, 28, 28)),
        (column("F32"), column("F32", 1)),
        (column("BOOL"), column("BOOL")),
    ],
)
def test_these_fit(have, wanted):
    assert find_misfits([have], [wanted]) == []


@pytest.mark.parametrize(
    ("have", "wanted", "sentence"),
    [
        (column("I64"), column("F32"), "Column 'x' is I64, the model needs F32."),
        (column("BOOL"), column("I64"), "Column 'x' is BOOL, the model needs I64."),
        (column("F32", 3), column("F32", 4), "Column 'x' has rows of shape [3], the model needs [4]."),
        # As many numbers, but in another order: pictures with the channels last would silently be noise.
        (
            column("F32", 8, 8, 3),
            column("F32", 3, 8, 8),
            "Column 'x' has rows of shape [8, 8, 3], the model needs [3, 8, 8].",
        ),
        (column("F32", name="z"), column("F32"), "The model needs a column 'x'; the usable columns are: z."),
    ],
)
def test_these_do_not_and_the_sentence_says_why(have, wanted, sentence):
    assert find_misfits([have], [wanted]) == [sentence]


def test_each_misfit_has_its_sentence():
    assert len(find_misfits([], [column("F32", name="a"), column("F32", name="b")])) == 2
