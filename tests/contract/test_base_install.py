"""Kizy as it is installed without the extra `local`: says what is missing, works otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

LOCAL = ["torch", "diffusers", "transformers", "tokenizers", "peft", "accelerate", "psutil"]

Run = Callable[..., Any]


@pytest.fixture
def kizy(run_kizy: Run) -> Run:
    """The command, where the libraries of the extra `local` are not installed."""

    def run(*arguments: str) -> Any:
        finished = run_kizy(*arguments, hidden=LOCAL)
        assert "Traceback" not in finished.stderr
        return finished

    return run


def test_help_is_shown(kizy: Run) -> None:
    finished = kizy("--help")
    assert finished.returncode == 0
    for command in ("generate", "replay", "show", "models", "doctor"):
        assert command in finished.stdout


def test_models_are_listed(kizy: Run) -> None:
    finished = kizy("models", "--json")
    assert finished.returncode == 0, finished.stderr
    assert "starter" in json.dumps(json.loads(finished.stdout)["models"])


def test_doctor_says_what_to_install(kizy: Run) -> None:
    finished = kizy("doctor")
    assert finished.returncode == 1, finished.stderr
    assert 'python -m pip install "kizy[local]"' in finished.stdout
    assert finished.stderr == ""


def test_doctor_says_the_same_in_json(kizy: Run) -> None:
    finished = kizy("doctor", "--json")
    assert finished.returncode == 1, finished.stderr
    checks = {check["name"]: check for check in json.loads(finished.stdout)["checks"]}
    assert checks["Drawing here"]["state"] == "missing"
    assert "torch" in checks["Drawing here"]["found"]


def test_generate_says_what_to_install(kizy: Run) -> None:
    finished = kizy("generate", "a red fox")
    assert finished.returncode == 1
    assert "local_missing" in finished.stderr
    assert 'python -m pip install "kizy[local]"' in finished.stderr


def test_generate_says_the_same_in_json(kizy: Run) -> None:
    finished = kizy("generate", "a red fox", "--json")
    assert finished.returncode == 1
    assert json.loads(finished.stdout)["error"]["code"] == "local_missing"


def test_a_bad_request_is_refused_for_what_is_bad_about_it(kizy: Run) -> None:
    finished = kizy("generate", "", "--json")
    assert finished.returncode == 2
    assert json.loads(finished.stdout)["error"]["code"] == "prompt_empty"


@pytest.mark.parametrize("room", ["core", "catalog", "orchestrator"])
def test_the_rooms_that_need_no_torch_can_be_imported(
    run_python: Run, root: Any, room: str
) -> None:
    files = sorted((root / room).rglob("*.py"))
    names = [".".join(("kizy", *file.relative_to(root).with_suffix("").parts)) for file in files]
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    finished = run_python(code, hidden=LOCAL)
    assert finished.returncode == 0, finished.stderr
