"""What is imported before anything is done: little, so that the command answers at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

HEAVY = {"torch", "diffusers", "transformers", "peft", "accelerate", "tokenizers", "numpy", "PIL"}
SHOW = "import json; print('\\nMODULES ' + json.dumps(sorted(sys.modules)))"

Run = Callable[..., Any]


def imported(output: str) -> set[str]:
    return {name.partition(".")[0] for name in json.loads(output.rpartition("MODULES ")[2])}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["generate", "--help"]])
def test_the_command_answers_without_heavy_libraries(run_kizy: Run, arguments: list[str]) -> None:
    finished = run_kizy(*arguments, then=SHOW)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert imported(finished.stdout) & {*HEAVY, "pydantic_settings"} == set()


def test_a_refused_request_imports_no_torch(run_kizy: Run) -> None:
    finished = run_kizy("generate", "", then=SHOW)
    assert finished.returncode == 2
    assert "prompt_empty" in finished.stderr
    heavy = HEAVY - {"numpy", "PIL"}
    assert imported(finished.stdout) & heavy == set()


def test_models_are_listed_without_torch(run_kizy: Run) -> None:
    finished = run_kizy("models", then=SHOW)
    assert finished.returncode == 0, finished.stderr
    assert imported(finished.stdout) & (HEAVY - {"numpy", "PIL"}) == set()
