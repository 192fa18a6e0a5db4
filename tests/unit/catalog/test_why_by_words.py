"""Why what words mean was not looked at: only what is missing here is said to be missing."""

from __future__ import annotations

import importlib.util

import pytest
from kizy import language
from kizy.catalog.index.meanings import why_by_words


@pytest.mark.parametrize("known", [True, False])
def test_where_the_libraries_are_there_they_are_not_said_to_be_missing(known: bool) -> None:
    assert language.available()
    assert "install" not in why_by_words(known=known)


def test_loras_that_were_not_learned_yet_are_the_reason() -> None:
    assert why_by_words(known=False) == "what your LoRAs mean is not known yet"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(language, "find_spec", lambda name: None if name == "torch" else find(name))
    assert why_by_words(known=True) == "to go by meaning, torch must be installed"
