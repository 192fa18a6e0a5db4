"""The wheel holds every package and every file that they read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

LEFT_OUT = shutil.ignore_patterns(
    ".*",
    "__pycache__",
    "*.egg-info",
    "build",
    "dist",
    "tests",
    "tools",
    "benchmarks",
    "docs",
    "venv",
)
DATA = {".toml", ".json", ".safetensors", ".txt"}
MAX_WEIGHTS = 64_000_000
"""Bytes of all weights in the repository together."""


def packages_of(root: Path) -> set[str]:
    values = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return set(values["tool"]["setuptools"]["packages"])


def run(*command: str | Path, **environment: str) -> str:
    """What a command prints; fails with all its output."""
    finished = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(root, folder / "source", ignore=LEFT_OUT)
    options = ("--wheel", "--no-isolation", "--outdir", str(folder))
    run(sys.executable, "-W", "ignore", "-m", "build", *options, str(source))
    (built,) = folder.glob("kizy-*.whl")
    return built


@pytest.fixture(scope="module")
def held(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_package_folder_is_listed(root: Path, package_folders: list[Path]) -> None:
    names = {".".join(("kizy", *path.relative_to(root).parts)) for path in package_folders}
    assert names == packages_of(root)


def test_every_folder_with_code_is_a_package(root: Path, package_folders: list[Path]) -> None:
    rooms = [path for path in package_folders if path.parent == root]
    folders = {file.parent for room in rooms for file in room.rglob("*.py")}
    assert folders <= set(package_folders)


def test_the_weights_are_small_enough(root: Path, package_folders: list[Path]) -> None:
    files = [file for folder in package_folders for file in folder.glob("*.safetensors")]
    assert files
    assert sum(file.stat().st_size for file in files) <= MAX_WEIGHTS


@pytest.mark.slow
def test_the_wheel_holds_every_module(
    root: Path, package_folders: list[Path], held: set[str]
) -> None:
    files = {file for folder in package_folders for file in folder.glob("*.py")}
    assert {f"kizy/{file.relative_to(root).as_posix()}" for file in files} - held == set()


@pytest.mark.slow
def test_the_wheel_holds_every_data_file(
    root: Path, package_folders: list[Path], held: set[str]
) -> None:
    rooms = [folder for folder in package_folders if folder != root]
    files = {file for folder in rooms for file in folder.iterdir() if file.suffix in DATA}
    expected = {f"kizy/{file.relative_to(root).as_posix()}" for file in files}
    for name in ("catalog/families/sdxl.toml", "language/weights/tokenizer.json"):
        assert f"kizy/{name}" in expected
    assert expected - held == set()


@pytest.mark.slow
def test_the_wheel_holds_nothing_else(held: set[str]) -> None:
    folders = {name.split("/")[1] for name in held if name.startswith("kizy/")}
    assert folders & {"tests", "benchmarks", "docs", "build", "constraints.txt"} == set()
    assert {name.split("/")[0].partition("-")[0] for name in held} == {"kizy"}


@pytest.mark.slow
def test_the_wheel_installs_and_runs(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    options = ("--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(wheel))
    code = (
        "import kizy.core, kizy.catalog.families.family as f\n"
        "print(kizy.core.__file__, f.load_families().keys())"
    )
    printed = run(sys.executable, "-P", "-c", code, PYTHONPATH=str(target))
    assert str(target / "kizy" / "core") in printed
    assert "starter" in printed
    assert "kizy 0." in run(target / "bin" / "kizy", "--version", PYTHONPATH=str(target))
