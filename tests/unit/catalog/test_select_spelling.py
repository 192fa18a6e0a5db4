"""Slips of the pen are mended only where the library knows what was meant."""

from __future__ import annotations

import pytest
from kizy.catalog.card import Card
from kizy.catalog.search.search_index import Library
from kizy.catalog.search.spelling import respelled

LIBRARY = Library.of(
    [
        Card(key="a", name="plague_doc", family="sdxl", about="plague doctors in masks"),
        Card(key="b", name="Kaldur_Station", family="sdxl", tags=("watercolor", "mess")),
    ]
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plauge doctor", "plague doctor"),
        ("a loose watercolur", "a loose watercolor"),
        ("Kaldur at night", "Kaldur at night"),
        ("a mossy stone", "a mossy stone"),
        ("ein Aquarell", "ein Aquarell"),
        ("xqzrtv tower", "xqzrtv tower"),
    ],
)
def test_only_a_word_that_nobody_knows_and_a_card_nearly_has_is_mended(
    written: str, meant: str
) -> None:
    assert respelled(written, LIBRARY) == meant
