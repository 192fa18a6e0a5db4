"""Every error that is made has a literal code of the table, and the table's class."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from kizy.core import errors
from kizy.core.errors import CODES, KizyError


class Made(NamedTuple):
    """A call of an error class: where, which class, and the code if it is literal."""

    where: str
    error: str
    code: str | None


def error_classes() -> dict[str, type[KizyError]]:
    found = (value for value in vars(errors).values() if isinstance(value, type))
    return {kind.__name__: kind for kind in found if issubclass(kind, KizyError)}


def calls_in(file: Path, shown: str) -> Iterator[Made]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else ""
        name = function.id if isinstance(function, ast.Name) else name
        if name in error_classes():
            yield Made(f"{shown}:{node.lineno}", name, literal(node.args))


def literal(arguments: list[ast.expr]) -> str | None:
    """The first argument, if it is a string and written as one."""
    match arguments:
        case [ast.Constant(value=str(code)), *_]:
            return code
        case _:
            return None


@pytest.fixture(scope="module")
def made(root: Path, package_folders: list[Path]) -> list[Made]:
    files = [file for folder in package_folders for file in sorted(folder.glob("*.py"))]
    return [call for file in files for call in calls_in(file, str(file.relative_to(root)))]


def test_every_error_has_a_literal_code_of_the_table(made: list[Made]) -> None:
    assert [call for call in made if call.code not in CODES] == []


def test_every_error_is_of_the_class_of_its_code(made: list[Made]) -> None:
    known = [call for call in made if call.code in CODES]
    assert [call for call in known if call.error != CODES[call.code or ""].error] == []


def test_every_code_is_used(made: list[Made]) -> None:
    assert set(CODES) - {call.code for call in made} == set()


def test_the_base_class_itself_is_never_raised(made: list[Made]) -> None:
    assert [call for call in made if call.error == "KizyError"] == []


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.code)
def test_every_code_says_what_happened_and_what_to_do(code: errors.ErrorCode) -> None:
    assert code.error in error_classes()
    assert code.meaning.endswith(".")
    assert code.fix


def test_an_error_brings_the_fix_of_its_code_unless_it_has_a_better_one() -> None:
    error = errors.InputError("size_invalid", "No size.")
    assert error.as_dict()["fix"] == CODES["size_invalid"].fix
    assert errors.InputError("size_invalid", "No size.", fix="This.").as_dict()["fix"] == "This."


def test_the_page_about_errors_lists_every_code(root: Path) -> None:
    page = root / "docs" / "errors.md"
    text = page.read_text(encoding="utf-8")
    assert [code for code in CODES if f"`{code}`" not in text] == []
