"""Whether what a release requires is installed. An update brings no libraries: those are the owner's to install."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet


def why_unsatisfied(requirements: Iterable[str], python: str = "") -> list[str]:
    """Return one sentence for each requirement that does not hold here; none of the optional extras is asked for."""
    problems = [problem for text in requirements if (problem := _problem(text))]
    try:
        if not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
            problems.append(f"Python {python}, here is {platform.python_version()}")
    except InvalidSpecifier:
        problems.append(f"Python {python!r}, which cannot be read")
    return problems


def _problem(text: str) -> str:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"{text!r}, which cannot be read"
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return ""
    if requirement.url:
        return f"{requirement.name} from {requirement.url}; only installed packages are accepted"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        # The same runtime under the name of its GPU build.
        return (
            _problem(text.replace("onnxruntime", "onnxruntime-gpu", 1))
            if requirement.name == "onnxruntime"
            else (f"{requirement}, which is missing")
        )
    if not requirement.specifier.contains(found, prereleases=True):
        return f"{requirement}, here is {found}"
    return ""
