"""LoRAs that a person writes down: `<lora:NAME:WEIGHT>` in a prompt, or a list, one a line.

All forms of tags that are read, by who writes them:

    <lora:NAME>  <lora:NAME:1>  <lyco:NAME:1>     A1111, Forge (modules/extra_networks.py there)
    <lora:NAME:te=0.3:unet=0.8>                   the same (extra_networks_lora.py)
    <lora:NAME:MODEL:TEXT>                        comfyui-prompt-control, SwarmUI, Kizy

A1111 reads two bare weights the other way round, which is told where they differ. Block weights
(lbw=), steps (start=, stop=) and ranks (dyn=) are told and left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...core.errors import InputError
from ...core.numbers import read_number
from .select import Named

MOST = 10.0
"""A weight is held within -10 and 10."""

_LORA = ("lora", "lyco", "lycoris", "locon", "loha", "lokr")
_OTHER = ("hypernet", "loractl")
_OPEN, _CLOSE = r"(?:<|＜|&lt;)", r"(?:>|＞|&gt;)"
_KINDS = "|".join(sorted((*_LORA, *_OTHER), key=len, reverse=True))
_TAG = re.compile(
    rf"{_OPEN}\s*(?P<kind>{_KINDS})\s*[:：](?P<body>[^<>＜＞]*?){_CLOSE}", re.IGNORECASE
)
_UNCLOSED = re.compile(rf"{_OPEN}\s*(?:{'|'.join(_LORA)})\s*[:：][^<>＜＞]{{0,60}}", re.IGNORECASE)
_UNKNOWN = re.compile(r"<[A-Za-z]\w*:[^<>]*>")
_OPTION = re.compile(r"\s*([A-Za-z]\w*)\s*=\s*(.*?)\s*", re.DOTALL)
_BLOCKS = re.compile(r"[A-Z][A-Z0-9-]*|[\d.\s-]+(?:,[\d.\s-]+){2,}")
"""A preset of the block weight extension of A1111 ("MIDD"), or the weights themselves."""
_LIKE_A_NUMBER = re.compile(r"[+\-−.,\d]|(?:nan|inf(?:inity)?)\s*\Z", re.IGNORECASE)

_HERE = "\x00"
"""Stands where a tag stood."""
_ONLY_TAGS = re.compile(r"[(\[][\s,:.\d\x00]*\x00[\s,:.\d\x00]*[)\]]")
_SCHEDULED = re.compile(r"\[[^\[\]]*(?:\x00[^\[\]]*[:|]|[:|][^\[\]]*\x00)[^\[\]]*\]")

_NOT_READ = {
    "dyn": "its rank (dyn)",
    "lbw": "block weights (lbw)",
    "lbwe": "block weights (lbwe)",
    "start": "a first step (start)",
    "stop": "a last step (stop)",
    "step": "steps (step)",
    "hr": "a weight for the second pass (hr)",
    "hrte": "a weight for the second pass (hrte)",
    "hrunet": "a weight for the second pass (hrunet)",
}
"""Options of A1111's extensions -> what they would set."""


@dataclass(frozen=True)
class Written:
    """A LoRA as somebody wrote it down. `notes`: what of it counts for nothing, in sentences."""

    named: Named
    notes: tuple[str, ...] = ()


def lora_tags(prompt: str) -> tuple[str, tuple[Named, ...], tuple[str, ...]]:
    """The prompt without its LoRA tags; what they name; what is to be told of them.

    Raises InputError `request_invalid` for a tag that cannot be read: without a name, with a weight
    that is no number, or without its end.
    """
    named: list[Named] = []
    notes: list[str] = []

    def taken(match: re.Match[str]) -> str:
        shown = _shown(match[0])
        kind = match["kind"].lower()
        if kind == "hypernet":
            notes.append(f"{shown} was left out: Kizy draws with no hypernetworks.")
        elif kind == "loractl":
            raise _refused(f"{shown} asks for weights that change while it is drawn.")
        else:
            found = _within(written(match["body"], shown), shown)
            named.append(found.named)
            notes.extend(found.notes)
        return _HERE

    text = _TAG.sub(taken, prompt.replace(_HERE, " "))
    unclosed = _UNCLOSED.search(text)
    if unclosed is not None:
        raise _refused(f"{_shown(unclosed[0])} has no > at its end.")
    notes += [f"{_shown(m[0])} stays in the prompt as words." for m in _UNKNOWN.finditer(text)]
    if _HERE not in text:
        return prompt, (), tuple(notes)
    if _SCHEDULED.search(text):
        notes.append("A LoRA within [...] is drawn with from the first step to the last.")
    return _without(text), tuple(named), tuple(dict.fromkeys(notes))


def lora_lines(text: str) -> tuple[tuple[Named, ...], tuple[str, ...]]:
    """LoRAs written one a line, and what is to be told of them.

    `NAME`, `NAME:WEIGHT`, `NAME:WEIGHT:TEXT WEIGHT`, with `te=` and `unet=`, or as tags. Lines that
    are empty or begin with `#` name none. Raises InputError `request_invalid` as `lora_tags`.
    """
    named: list[Named] = []
    notes: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#"):
            continue
        rest, tags, told = lora_tags(line)
        named += tags
        notes += told
        if rest:
            found = _within(written(rest), _shown(rest))
            named.append(found.named)
            notes += found.notes
    return tuple(named), tuple(dict.fromkeys(notes))


def written(text: str, shown: str | None = None) -> Written:
    """`NAME:WEIGHT:TEXT WEIGHT` with options, weights as they stand there.

    A colon before what is neither number nor option belongs to the name (`C:\\loras\\ink`).
    `shown`: the whole tag, for what is told. Raises InputError `request_invalid`.
    """
    is_tag = shown is not None
    shown = shown or _shown(text)
    name, rest = _parted(text)
    if not name:
        raise _refused(f"{shown} names no LoRA.")
    bare: list[float | None] = []
    options: dict[str, float] = {}
    notes: list[str] = []
    for part in rest:
        option = _OPTION.fullmatch(part)
        if option is not None and option[1].lower() in ("te", "unet"):
            options[option[1].lower()] = _weight(option[2], shown)
        elif option is not None:
            what = _NOT_READ.get(option[1].lower(), f"{_shown(option[0].strip())}")
            notes.append(f"{shown}: {what} counts for nothing here.")
        elif part.strip().lower() in ("", "auto"):
            bare.append(None)
        elif bare and _BLOCKS.fullmatch(part.strip()):
            notes.append(f"{shown}: block weights ({part.strip()}) count for nothing here.")
        else:
            bare.append(_weight(part, shown))
    if len(bare) > 2:
        notes.append(f"{shown}: what follows the second weight counts for nothing here.")
    model, clip, note = _weights([*bare, None, None][:2], options)
    if note is None and is_tag and None not in (model, clip) and not options and model != clip:
        note = (
            f"{model:g} is the weight for the model and {clip:g} for the text encoder, as in "
            f"ComfyUI; A1111 means the reverse (te={clip:g}:unet={model:g} is clear to all)."
        )
    if note is not None:
        notes.append(f"{shown}: {note}")
    return Written(Named(name, model, clip), tuple(notes))


def _weights(
    bare: Sequence[float | None], options: dict[str, float]
) -> tuple[float | None, float | None, str | None]:
    """(for the model, for the text encoder, what is to be told), by A1111's rules for options:
    the model's weight is the text encoder's where nothing else is said.
    """
    first, second = bare
    if not options:
        return first, second, None
    clip = options.get("te", 1.0 if first is None else first)
    if "unet" in options:
        return options["unet"], clip, None
    if first is not None and second is None and first != clip:
        note = f"te={clip:g} counts for the model, too, as in A1111; unet= sets that alone."
        return clip, clip, note
    return (clip if second is None else second), clip, None


def _parted(text: str) -> tuple[str, list[str]]:
    """The name, and the parts behind it, in plain letters."""
    parts = text.split(":")
    if "：" in parts[-1] and not _reads(parts[-1]):
        # Windows allows this colon in names: it parts only what is a number or an option.
        parts[-1:] = parts[-1].split("：")
    name = [parts.pop(0)]
    while parts and not _reads(parts[0]):
        name.append(parts.pop(0))
    plain = [unicodedata.normalize("NFKC", part) for part in parts]
    return ":".join(name).strip().strip('"').strip(), plain


def _reads(part: str) -> bool:
    """Whether it can only be a weight or an option."""
    part = unicodedata.normalize("NFKC", part).strip()
    if part.lower() in ("", "auto"):
        return True
    return _LIKE_A_NUMBER.match(part) is not None or _OPTION.fullmatch(part) is not None


def _weight(text: str, shown: str) -> float:
    try:
        return read_number(text)
    except ValueError:
        raise _refused(f'{shown}: "{_short(text.strip())}" is no weight.') from None


def _within(found: Written, shown: str) -> Written:
    """The same with weights from -10 to 10, and told where that changes them."""
    model, clip = (
        None if weight is None else max(-MOST, min(MOST, weight))
        for weight in (found.named.model_weight, found.named.clip_weight)
    )
    named = replace(found.named, model_weight=model, clip_weight=clip)
    if named == found.named:
        return found
    note = f"{shown}: weights go from -{MOST:g} to {MOST:g}; a stronger one is drawn as the last."
    return Written(named, (*found.notes, note))


def _without(text: str) -> str:
    """The text without what only stood around tags: brackets, commas, blanks."""
    before = None
    while before != text:
        before, text = text, _ONLY_TAGS.sub(_HERE, text)
    text = re.sub(r"[ \t]*\x00+(?=[ \t\x00]*(?:[,.;:!?)\]]|$))", "", text, flags=re.MULTILINE)
    text = re.sub(r"[ \t]*,(?:[ \t\x00]*,)+", ",", text).replace(_HERE, " ")
    lines = (" ".join(line.split()).strip(" ") for line in text.splitlines())
    return "\n".join(lines).strip(" ,\n")


def _shown(text: str) -> str:
    return f'"{_short(" ".join(text.split()))}"'


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _refused(message: str) -> InputError:
    fix = "Write <lora:NAME:WEIGHT>, the weight as a number from -10 to 10, such as 0.8."
    return InputError("request_invalid", message, fix=fix)
