"""Wishes in other languages, word by word in English."""

from __future__ import annotations

import pytest
from kizy.catalog.search.parsed_prompt import parse_wish
from kizy.catalog.words.languages import LANGUAGES, language_of


@pytest.mark.parametrize(
    ("language", "wish", "words"),
    [
        ("de", "ein alter Leuchtturm als Linolschnitt", ("lighthouse", "linocut")),
        ("fr", "un chevalier en vitrail", ("knight", "stained glass")),
        ("es", "retrato de un perro en acuarela", ("dog", "watercolor")),
        ("it", "due gatti in stile fumetto", ("cat", "comic")),
        ("pt", "uma raposa bordada em tecido", ("fox", "embroidery")),
        ("nl", "een vos van vilt", ("fox", "felt")),
        ("pl", "lis z papieru, origami", ("fox", "origami")),
        ("ru", "старый моряк у моря, гравюра", ("sailor", "etching")),
        ("uk", "лисиця в лісі, акварель", ("fox", "watercolor")),
        ("tr", "suluboya tarzında bir tilki", ("fox", "watercolor")),
        ("ja", "夜の東京、サイバーパンク", ("night", "cyberpunk")),
        ("zh", "油画风格的老渔夫", ("oil painting", "fisherman")),
        ("ko", "수채화로 그린 여우", ("watercolor", "fox")),
    ],
)
def test_a_wish_is_read_in_each_language(language: str, wish: str, words: tuple[str, ...]) -> None:
    assert language in LANGUAGES
    assert language_of(wish) == language
    assert all(word in parse_wish(wish).english for word in words)
