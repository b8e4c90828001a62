"""What imports cannot show: where cursors, clocks and SQL may stand, and that nothing is left over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "workunits"
SERVER = [ENGINE, ROOT / "fleetcompute"]
CLOCKS = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("timezone", "now"),
    ("time", "time"), ("time", "time_ns"), ("time", "monotonic"), ("time", "perf_counter"), ("time", "sleep"),
}  # fmt: skip


def python_files(*folders: Path) -> list[Path]:
    found = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    assert found, "the folder that this rule guards is empty"
    return found


def calls(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield (object, attribute, line) for each call of the form `object.attribute(...)`, also deeper in a chain."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            yield name, node.func.attr, node.lineno


def test_cursors_are_opened_only_in_the_store():
    # The launcher makes the database before Django can know it.
    allowed = {ENGINE / "store", ROOT / "fleetcompute" / "embedded"}
    offenders = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files(*SERVER)
        if not allowed & set(path.parents) and "migrations" not in path.parts
        for _, attribute, line in calls(path)
        if attribute in ("cursor", "raw", "extra", "execute", "executemany", "copy_expert")
    ]
    assert offenders == []


def test_row_locks_are_taken_only_in_the_store_and_by_the_few_stages_that_own_a_table():
    offenders = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files(ROOT / "fleetcompute")
        for _, attribute, line in calls(path)
        if attribute == "select_for_update"
    ]
    assert offenders == []


@pytest.mark.parametrize("layer", ["domain", "store", "pipeline", "selectors"])
def test_the_clock_is_read_only_where_the_outside_world_enters(layer):
    offenders = [
        f"{path.relative_to(ROOT)}:{line} {name}.{attribute}()"
        for path in python_files(ENGINE / layer)
        for name, attribute, line in calls(path)
        if (name, attribute) in CLOCKS
    ]
    assert offenders == []


def sql_files() -> list[Path]:
    found = sorted([*(ENGINE / "sql").glob("*.sql"), *(ENGINE / "sql" / "functions").glob("*.sql")])
    assert len(found) > 10
    return found


@pytest.mark.parametrize("path", sql_files(), ids=lambda path: path.stem)
def test_each_statement_says_who_calls_it_and_reads_no_clock(path):
    lines = path.read_text("utf-8").splitlines()
    header = [line for line in lines if line.startswith("--")]
    assert lines[0].startswith("-- ")
    assert any("Caller:" in line for line in header), "name the caller"
    body = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    assert not re.search(r"\b(now\(\)|clock_timestamp|current_timestamp)\b", body, re.IGNORECASE)


def test_every_statement_has_a_caller():
    sources = "\n".join(path.read_text("utf-8") for path in python_files(ENGINE))
    # A function of the database is made of statements' files, each on a line `{statement}`.
    functions = "\n".join(path.read_text("utf-8") for path in (ENGINE / "sql" / "functions").glob("*.sql"))
    unused = [
        path.stem for path in sql_files() if f'"{path.stem}"' not in sources and f"\n{{{path.stem}}}" not in functions
    ]
    assert unused == []


def test_domain_knows_neither_django_nor_the_network_nor_files():
    forbidden = {"django", "rest_framework", "celery", "psycopg2", "requests", "os", "pathlib", "socket", "time"}
    offenders = []
    for path in python_files(ENGINE / "domain"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            offenders += [f"{path.name}: {name}" for name in names if name.split(".")[0] in forbidden]
    assert offenders == []


@pytest.mark.django_db
def test_the_migrations_are_complete():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_every_error_code_has_its_row_in_the_table_of_problems():
    import fleetcompute.urls  # noqa: F401 - imports every module that an address leads to
    import workunits.tasks  # noqa: F401
    from fleetcompute.api.problems import PROBLEMS
    from workunits.domain.errors import FleetError

    def subclasses(base: type[FleetError]) -> set[type[FleetError]]:
        return {base}.union(*(subclasses(child) for child in base.__subclasses__()))

    missing = {error.code for error in subclasses(FleetError) if error.__module__.split(".")[0] != "tests"} - set(
        PROBLEMS
    )
    assert missing == set()


def test_docstrings_open_every_module_of_the_engine_and_the_client():
    bare = [
        str(path.relative_to(ROOT))
        for path in python_files(ENGINE, ROOT / "fleetcompute", ROOT / "client")
        if "migrations" not in path.parts
        and path.read_text("utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert bare == []


def test_no_source_file_grows_past_the_point_where_a_seam_must_be_found():
    long = {
        str(path.relative_to(ROOT)): count
        for path in python_files(ENGINE, ROOT / "fleetcompute", ROOT / "client", ROOT / "bench")
        if "migrations" not in path.parts and (count := len(path.read_text("utf-8").splitlines())) > 350
    }
    assert long == {}
