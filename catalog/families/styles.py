"""Styles as data: words that go to the end of a prompt."""

from __future__ import annotations

import re
from functools import lru_cache

from ...core.errors import UnknownNameError, nearest
from ...core.request import Frozen

_OTHERS = ("flux1-dev", "flux1-kontext", "flux1-schnell", "sd15", "sd35", "sd35-medium", "sdxl")
_ALL = ("starter", *_OTHERS)


class Style(Frozen):
    """A way to draw. `words` go to the end of a prompt, as the families learned them.

    `aliases` name it in an option and in a prompt alike; `short_names` only in an option, since
    in a sentence they mean other things ("a flat tyre"). `families`: ids of those that know it.
    """

    id: str
    name: str
    words: str
    aliases: tuple[str, ...] = ()
    short_names: tuple[str, ...] = ()
    families: tuple[str, ...]

    def added_to(self, prompt: str) -> str:
        """The prompt with the style's words at its end, unless it has them already."""
        if _names(self.words).search(prompt):
            return prompt
        return f"{prompt.rstrip().rstrip(',')}, {self.words}"


# The words of the first three are those of the starter's captions: starter/concepts.py, STYLES.
STYLES: tuple[Style, ...] = (
    Style(id="3d", name="3d render", words="3d render", families=_ALL,
          aliases=("3d", "3d rendering", "3-d")),
    Style(id="flat", name="flat sticker", words="flat sticker", families=_ALL,
          aliases=("sticker", "flat icon", "flat design"), short_names=("flat", "icon")),
    Style(id="cartoon", name="cartoon", words="cartoon", families=_ALL,
          aliases=("toon", "comic", "cartoon style", "comic style")),
    Style(id="photo", name="photo", words="photo", families=_OTHERS,
          aliases=("photograph", "photography", "photorealistic"),
          short_names=("real", "realistic")),
    Style(id="oil-painting", name="oil painting", words="oil painting", families=_OTHERS,
          aliases=("oil on canvas", "painted in oil"), short_names=("oil",)),
    Style(id="watercolor", name="watercolor", words="watercolor painting", families=_OTHERS,
          aliases=("watercolour", "aquarelle", "watercolour painting")),
    Style(id="pencil", name="pencil drawing", words="pencil drawing", families=_OTHERS,
          aliases=("pencil sketch", "graphite drawing"), short_names=("pencil", "sketch")),
    Style(id="pixel-art", name="pixel art", words="pixel art", families=_OTHERS,
          aliases=("pixelart", "8-bit art", "16-bit art"), short_names=("pixel", "8-bit")),
    Style(id="anime", name="anime", words="anime style", families=_OTHERS,
          aliases=("manga", "manga style")),
    Style(id="line-art", name="line art", words="line art", families=_OTHERS,
          aliases=("lineart", "ink drawing", "line drawing"), short_names=("line", "ink")),
)  # fmt: skip


def styles_of(family_id: str) -> tuple[Style, ...]:
    """The styles that a family knows."""
    return tuple(style for style in STYLES if family_id in style.families)


def find_style(name: str, family_id: str) -> Style:
    """A family's style by id, name, words or alias, in any case.

    Raises UnknownNameError `style_unknown`.
    """
    wanted = " ".join(name.split()).casefold()
    known = styles_of(family_id)
    for style in known:
        if wanted in (style.id, style.name, style.words, *style.aliases, *style.short_names):
            return style
    hint = nearest(name, (style.name for style in known))
    if any(wanted in (style.id, style.name, *style.aliases) for style in STYLES):
        message = f'This model does not know the style "{name}". {hint}'
    else:
        message = f'No style is called "{name}". {hint}'
    raise UnknownNameError("style_unknown", message.strip())


def style_in_prompt(prompt: str, family_id: str) -> Style | None:
    """The family's style that the prompt names, the longest name first; None if it names none."""
    found: list[tuple[int, Style]] = []
    for style in styles_of(family_id):
        for said in {style.name, style.words, *style.aliases}:
            if _names(said).search(prompt):
                found.append((len(said), style))
    return max(found, key=lambda pair: pair[0])[1] if found else None


@lru_cache(maxsize=256)
def _names(words: str) -> re.Pattern[str]:
    """Finds the words as whole words, in any case and with any space between them."""
    spaced = r"\s+".join(re.escape(word) for word in words.split())
    return re.compile(rf"(?<![\w-]){spaced}(?![\w-])", re.IGNORECASE)
