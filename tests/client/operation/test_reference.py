"""The reference pages are what the code says."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from fleetclient.config import parse_config
from tests.client.operation.make_reference import REFERENCE, make_commands, make_configuration


@pytest.mark.parametrize(
    ("name", "make"), [("client-configuration.md", make_configuration), ("client-commands.md", make_commands)]
)
def test_the_page_is_up_to_date(name: str, make: object) -> None:
    if name == "client-commands.md" and sys.version_info >= (3, 13):
        pytest.skip("from Python 3.13 on, argparse breaks the lines of a usage elsewhere")
    text = make() if callable(make) else ""
    assert REFERENCE.joinpath(name).read_text("utf-8") == text, "run: python -m tests.client.operation.make_reference"


DOCUMENTS = [REFERENCE.parent / "how-to" / "run-the-client.md", REFERENCE.parents[1] / "client" / "README.md"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_configuration_in_a_document_is_one_that_the_client_takes(path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", path.read_text("utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        parse_config({"server": "https://fleet.example", **tomllib.loads(block)}, folder=Path("/etc/fleetcompute"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_document_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    named = set(re.findall(r"(?m)(?:^|`)fleetclient ([a-z][a-z-]+)", text))
    page = REFERENCE.joinpath("client-commands.md").read_text("utf-8")
    assert named
    assert {name for name in named if f"## `fleetclient {name}" not in page} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_in_a_document_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", path.read_text("utf-8"))
    assert links
    assert [link for link in links if not link.startswith("http") and not (path.parent / link).exists()] == []
