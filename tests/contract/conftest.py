"""Python in a process of its own: other paths, other libraries, nothing imported yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Finished = subprocess.CompletedProcess[str]
RunPython = Callable[..., Finished]

_HIDE = """
import sys

class _Hiding:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            return None
        return self._finder.find_spec(name, path, target)

sys.meta_path[:] = [_Hiding(finder) for finder in sys.meta_path]
"""


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder, which is the package's too."""
    import kizy

    assert kizy.__file__ is not None
    return Path(kizy.__file__).resolve().parent


@pytest.fixture(scope="session")
def package_folders(root: Path) -> list[Path]:
    """Every folder with an `__init__.py` that belongs to the distribution."""
    others = {"tests", "tools", "benchmarks", "docs", "build", "dist"}
    found = []
    for file in root.rglob("__init__.py"):
        parts = file.parent.relative_to(root).parts
        if not any(part in others or part.startswith(".") for part in parts):
            found.append(file.parent)
    return sorted(found)


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """run_python(code, *arguments): runs it outside the repository.

    `hidden`: top-level modules that look as if they were not installed. `isolated`: neither
    environment variables for Python nor the working directory count.
    """

    def run(
        code: str,
        *arguments: str,
        hidden: Sequence[str] = (),
        isolated: bool = False,
        path: Sequence[Path] = (),
    ) -> Finished:
        cwd = tmp_path / "elsewhere"
        cwd.mkdir(exist_ok=True)
        options = ["-I"] if isolated else []
        hide = _HIDE.format(names=sorted(hidden)) if hidden else ""
        paths = [str(folder) for folder in path]
        begin = f"import sys; sys.path[:0] = {paths!r}\n" if paths else ""
        # COLUMNS: wide enough that no message is wrapped.
        environment = {**os.environ, "COLUMNS": "1000", "NO_COLOR": "1"}
        return subprocess.run(
            [sys.executable, *options, "-c", hide + begin + code, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def run_kizy(run_python: RunPython) -> RunPython:
    """run_kizy(*arguments): the command `kizy`; with `hidden` as `run_python`."""

    def run(*arguments: str, hidden: Sequence[str] = (), then: str = "") -> Finished:
        code = (
            "import sys\n"
            "from kizy.orchestrator.cli.main import main\n"
            "sys.argv[0] = 'kizy'\n"
            f"try:\n    main()\nfinally:\n    {then or 'pass'}\n"
        )
        return run_python(code, *arguments, hidden=hidden)

    return run
