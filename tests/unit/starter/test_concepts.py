"""What the starter is taught, and how pictures of it are composed."""

from __future__ import annotations

from collections import Counter

import pytest
from kizy.catalog.families.styles import styles_of
from kizy.starter.concepts import COLORS, STYLES, concepts, taught


def test_every_label_is_there_once() -> None:
    labels = Counter(concept.label.casefold() for concept in concepts())
    assert [label for label, count in labels.items() if count > 1] == []
    assert len(labels) > 100


def test_labels_and_words_are_clean() -> None:
    for concept in concepts():
        for word in (concept.label, *concept.words):
            assert word == word.strip() and word
            assert not set(word) & set("*;,#\t"), concept


def test_a_synonym_is_not_the_label_again() -> None:
    assert [c.label for c in concepts() if c.label in c.words] == []


def test_no_concept_says_a_word_twice() -> None:
    assert [c.label for c in concepts() if len(set(c.words)) < len(c.words)] == []


def test_a_label_is_no_other_things_synonym() -> None:
    labels = {concept.label for concept in concepts()}
    assert [c.label for c in concepts() if labels & set(c.words)] == []


def test_most_things_have_other_words() -> None:
    assert sum(bool(concept.words) for concept in concepts()) > len(concepts()) / 2


def test_a_line_is_read_into_its_parts() -> None:
    robot = next(concept for concept in concepts() if concept.label == "robot")
    assert (robot.words, robot.everyday) == (("robot face",), True)


def test_everyday_things_are_a_part_of_all() -> None:
    assert taught(everyday_only=True) < taught(everyday_only=False)


def test_the_styles_words_are_those_of_the_catalog() -> None:
    assert {style.id: style.words for style in styles_of("starter")} == STYLES


@pytest.mark.parametrize("name", COLORS)
def test_a_colour_is_three_bytes(name: str) -> None:
    assert all(0 <= channel <= 255 for channel in COLORS[name])
