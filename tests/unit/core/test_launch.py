from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kizy.core import launch
from kizy.core.errors import EngineError
from kizy.core.launch import command, start

ROOM = """
import json, os, sys
from .helper import WORD
print(json.dumps([WORD, __name__, __package__, sys.argv, os.environ.get("KIZY_PROBE")]))
sys.exit(3)
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another working directory, from which no `kizy` can be imported."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return folder


@pytest.fixture
def probe(tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a room `talk` in the place of Kizy, in a folder of another name."""
    folder = tmp_path / "ComfyUI-Kizy"
    (folder / "talk").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "talk" / "__init__.py").touch()
    (folder / "talk" / "helper.py").write_text('WORD = "hello"\n')
    (folder / "talk" / "aloud.py").write_text(ROOM)
    monkeypatch.setattr(launch, "ROOT", folder)


@pytest.mark.usefixtures("probe")
def test_a_room_runs_as_a_program_of_the_package() -> None:
    environment = {"KIZY_PROBE": "given"}
    arguments = ["--one", "two words"]
    process = start("talk.aloud", arguments, environment=environment, stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=60)
    word, name, package, argv, given = json.loads(output)
    assert (word, name, package, given) == ("hello", "__main__", "kizy.talk", "given")
    assert argv[1:] == arguments
    assert process.returncode == 3


@pytest.mark.usefixtures("elsewhere")
def test_kizy_need_not_be_installed_there() -> None:
    interpreter, *rest = command("core.errors")
    # -S: without site-packages, where kizy and its libraries are.
    finished = subprocess.run(
        [interpreter, "-S", *rest], capture_output=True, text=True, timeout=60
    )
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.usefixtures("elsewhere")
def test_a_room_that_does_not_exist_ends_with_an_error() -> None:
    process = start("core.nothing_of_that_name", stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"kizy.core.nothing_of_that_name" in errors


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no-python") as caught:
        start("core.version", interpreter=str(tmp_path / "no-python"))
    assert caught.value.code == "launch_failed"


def test_this_interpreter_is_taken_unless_another_is_given() -> None:
    assert command("core.version")[0] == sys.executable
    assert command("core.version", interpreter="/other")[0] == "/other"
