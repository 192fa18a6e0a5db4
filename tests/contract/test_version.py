from __future__ import annotations

import tomllib
from pathlib import Path

from kizy.core.version import VERSION


def test_the_package_and_the_code_have_the_same_version(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION


def test_the_changelog_has_a_section_of_this_version(root: Path) -> None:
    assert f"## {VERSION}" in (root / "CHANGELOG.md").read_text(encoding="utf-8")
