"""The reference pages are what the code says."""

from __future__ import annotations

import sys

import pytest

from tests.client.operation.make_reference import REFERENCE, make_commands, make_configuration


@pytest.mark.parametrize(
    ("name", "make"), [("client-configuration.md", make_configuration), ("client-commands.md", make_commands)]
)
def test_the_page_is_up_to_date(name: str, make: object) -> None:
    if name == "client-commands.md" and sys.version_info >= (3, 13):
        pytest.skip("from Python 3.13 on, argparse breaks the lines of a usage elsewhere")
    text = make() if callable(make) else ""
    assert REFERENCE.joinpath(name).read_text("utf-8") == text, "run: python -m tests.client.operation.make_reference"
