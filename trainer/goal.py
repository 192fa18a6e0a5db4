"""What a training is for, told from the description: somebody, something, or a way of drawing."""

from __future__ import annotations

import re

from ..catalog.words import glossary
from ..catalog.words.word_forms import words
from ..language import available
from .plan import Goal

_STYLE = re.compile(
    r"\b(?:style|stil|aesthetic|art style|look of|in the manner of|technique)\b", re.IGNORECASE
)
_MEDIA = frozenset(
    words(
        "drawings paintings illustrations sketches icons emojis comics prints pictograms doodles"
        " engravings etchings watercolors posters pixelart linework lineart artwork artworks"
    )
)
_OWN = re.compile(r"\b(?:my|our|his|her|oc|named|called|mein|meine)\b", re.IGNORECASE)
_BEINGS = frozenset(
    words(
        "person man woman girl boy child baby lady gentleman face portrait selfie actor singer"
        " character hero heroine mascot pet cat kitten dog puppy horse bird parrot rabbit hamster"
        " fox wolf bear dragon creature monster robot friend wife husband daughter son mother"
        " father sister brother grandmother grandfather me myself human animal knight elf wizard"
        " katze hund frau mann kind"
    )
)
_THINGS = frozenset(
    words(
        "object product mug cup bottle shoe sneaker bag backpack chair table lamp sofa furniture"
        " car bike bicycle motorcycle truck plane ship boat building house tower church bridge"
        " logo toy figurine doll plush watch ring necklace jewelry dress shirt jacket hat helmet"
        " sword shield guitar camera phone plant flower cake food dish can box packaging vehicle"
        " weapon tool vase pot teapot"
    )
)
_SAYINGS: dict[Goal, tuple[str, ...]] = {
    "character": ("a person with a name", "my pet animal", "a character of a story"),
    "style": ("a style of drawing", "paintings in the same technique", "an artist's way to draw"),
    "object": ("a product to photograph", "a piece of furniture", "a vehicle, a tool, a building"),
}
_WORDS: dict[Goal, str] = {
    "character": "somebody: a person, an animal or a figure",
    "style": "a way of drawing",
    "object": "a thing",
}


def infer_goal(name: str, about: str) -> tuple[Goal, str]:
    """The goal, and why in plain words. Needs no model where words tell."""
    text = f"{name}. {about}"
    told = set(words(text))
    if _STYLE.search(text):
        return "style", "the name or description speaks of a style"
    beings, media = told & _BEINGS, told & _MEDIA
    if beings and _OWN.search(text):
        return "character", f'the description speaks of somebody ("{_first(beings, text)}")'
    terms = [found.said for found in glossary.terms_in(text) if found.term.kind == "style"]
    if media or terms:
        said = _first(media, text) if media else terms[0]
        return "style", f'the description speaks of a way of drawing ("{said}")'
    if beings:
        return "character", f'the description speaks of somebody ("{_first(beings, text)}")'
    if things := told & _THINGS:
        return "object", f'the description speaks of a thing ("{_first(things, text)}")'
    if about.strip() and available():
        goal = _nearest(text)
        return goal, f"the description means {_WORDS[goal]} more than anything else"
    return "character", "nothing tells, and most LoRAs are of somebody; --goal says otherwise"


def _first(found: set[str], text: str) -> str:
    order = words(text)
    return min(found, key=order.index)


def _nearest(text: str) -> Goal:
    from ..language.encoder import embed

    goals = list(_SAYINGS)
    vectors = embed([text, *(saying for goal in goals for saying in _SAYINGS[goal])])
    likeness = vectors[1:] @ vectors[0]
    best: list[float] = []
    for goal in goals:
        count = len(_SAYINGS[goal])
        best.append(float(likeness[:count].max()))
        likeness = likeness[count:]
    return goals[best.index(max(best))]
