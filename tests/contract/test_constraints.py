from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def requirements() -> list[Requirement]:
    """What the distribution needs, with all extras, and what building it needs."""
    values = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = values["project"]
    extras = project["optional-dependencies"].values()
    groups = (project["dependencies"], *extras, values["build-system"]["requires"])
    return [Requirement(line) for lines in groups for line in lines]


def pins() -> dict[str, list[str]]:
    """Distribution -> the versions that constraints.txt allows (more than one only by marker)."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        pin = Requirement(text)
        (specifier,) = pin.specifier
        assert specifier.operator == "==", f"{text} is no pin"
        assert "*" not in specifier.version, f"{text} is no pin"
        found.setdefault(canonicalize_name(pin.name), []).append(specifier.version)
    return found


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_dependency_is_pinned_to_a_version_that_fits(requirement: Requirement) -> None:
    versions = pins().get(canonicalize_name(requirement.name))
    assert versions, f"{requirement.name} is not in constraints.txt"
    for version in versions:
        assert requirement.specifier.contains(version, prereleases=True)


def test_torch_is_the_version_that_is_built_for_our_machines() -> None:
    assert pins()["torch"] == ["2.13.0"]
