"""Wishes in other languages, word by word."""

from __future__ import annotations

from kizy.catalog.words.languages import in_english


def test_a_language_without_a_list_of_small_words_is_read_all_the_same() -> None:
    assert "fox" in [said.english for said in in_english("빨간 fox 고양이", "ko")]
