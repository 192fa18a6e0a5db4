"""What a training is for, told from name and description."""

from __future__ import annotations

import pytest
from kizy.trainer.goal import infer_goal


@pytest.mark.parametrize(
    ("name", "about", "goal"),
    [
        ("Mimi", "my grey cat with a red collar", "character"),
        ("Zora", "a young woman with freckles", "character"),
        ("Mimi", "my cat, painted in watercolor", "character"),
        ("Blue mug", "", "object"),
        ("Chair 7", "a chair by a carpenter", "object"),
        ("Inkline", "black line drawings of things", "style"),
        ("Aquarell Rosa", "soft watercolor landscapes", "style"),
        ("Nord", "posters in the style of old travel advertising", "style"),
        ("Mimi", "", "character"),
    ],
)
def test_words_tell_the_goal(name: str, about: str, goal: str) -> None:
    found, why = infer_goal(name, about)
    assert found == goal and why


def test_what_words_do_not_tell_the_meaning_does() -> None:
    found, why = infer_goal("Tram 28", "an old yellow tram of Lisbon")
    assert found == "object" and "means" in why
