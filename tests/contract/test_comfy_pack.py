"""What ComfyUI's registry and its manager read of this folder."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_what_the_registry_asks_for_is_there(project: dict[str, Any]) -> None:
    comfy, about = project["tool"]["comfy"], project["project"]
    assert re.fullmatch(r"[a-z0-9-]+", comfy["PublisherId"])
    assert comfy["DisplayName"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    # With WEB_DIRECTORY in the code it would serve the folder twice.
    assert "web" not in comfy
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*[a-z0-9]", about["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])
    assert about["license"] and about["description"] and about["classifiers"]


def test_only_folders_of_the_root_are_left_out_of_what_is_published(root: Path) -> None:
    """Patterns without a slash in front hold at any depth: `docs/` would take the help pages."""
    patterns = (root / ".comfyignore").read_text(encoding="utf-8").split()
    assert patterns
    for pattern in patterns:
        assert pattern.startswith("/")
    kept = {"nodes", "locales", "workflows", "requirements.txt", "__init__.py", "LICENSE", "NOTICE"}
    assert not {pattern.strip("/") for pattern in patterns} & kept


def test_requirements_are_among_the_packages_own(root: Path, project: dict[str, Any]) -> None:
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    assert wanted <= set(project["project"]["dependencies"])
    # What would break other people's ComfyUI.
    moved = ("torch", "transformers", "huggingface", "numpy", "opencv", "diffusers")
    assert [line for line in wanted if line.startswith(moved)] == []
