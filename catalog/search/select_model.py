"""Which model a wish is drawn with if the person named none, and why: a pure function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ..card import Card
from ..families.family import load_families
from ..words.word_forms import plain, raw_words
from .parsed_prompt import Wish, parse_wish

Intent = Literal["photo", "anime", "icon", "lettering", "painting", "any"]

STARTER = "starter"

MemoryOf = Callable[[Card], float | None]
"""GB of the GPU that a model would be drawn with; None: not known."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# How well the families' base models do what is asked for, 0 to 1: Kizy's judgement, from what the
# models' own pages say they are made for. A model whose name or card says more is put higher.
_SKILL: dict[str, dict[Intent, float]] = {
    "starter": {"icon": 0.3, "any": 0.05},
    "sd15": {"photo": 0.4, "anime": 0.35, "painting": 0.5, "icon": 0.35, "any": 0.4},
    "sdxl": {"photo": 0.65, "anime": 0.5, "painting": 0.75, "icon": 0.6, "any": 0.65},
    "sd35": {"photo": 0.75, "anime": 0.5, "painting": 0.7, "lettering": 0.7, "any": 0.7},
    "sd35-medium": {"photo": 0.7, "anime": 0.45, "painting": 0.65, "lettering": 0.6, "any": 0.66},
    "flux1-schnell": {"photo": 0.75, "anime": 0.5, "painting": 0.6, "lettering": 0.8, "any": 0.72},
    "flux1-dev": {"photo": 0.9, "anime": 0.55, "painting": 0.65, "lettering": 0.9, "any": 0.8},
    # Made for changing a picture that is given.
    "flux1-kontext": {"photo": 0.5, "lettering": 0.5, "any": 0.45},
}
_VARIANT_SKILL: dict[Intent, float] = {"anime": 0.95, "icon": 0.5, "painting": 0.45, "any": 0.4}
"""Pony, Illustrious and NoobAI: trained on drawings of characters."""

_TOLD: dict[Intent, frozenset[str]] = {
    "photo": _set("photo photos photorealistic realistic realism real photography"),
    "anime": _set("anime manga waifu toon 2d"),
    "icon": _set("icon icons sticker stickers emoji logo vector"),
    "painting": _set("painting paintings painterly art artistic illustration"),
    "lettering": _set("text typography lettering"),
}
_SAID: dict[Intent, frozenset[str]] = {
    "photo": _set(
        "photo photos photograph photographs photography photorealistic photographed foto dslr "
        "selfie snapshot 写真"
    ),
    "anime": _set("anime manga 1girl 1boy waifu"),
    "icon": _set("icon icons sticker stickers emoji logo pictogram"),
}
_TERMS: dict[Intent, frozenset[str]] = {
    "photo": frozenset(
        (
            "analog photo",
            "polaroid",
            "amateur photo",
            "street photography",
            "cinematic",
            "infrared",
            "macro",
            "bokeh",
            "long exposure",
        )
    ),
    "anime": frozenset(
        ("anime", "90s anime", "80s anime", "manga", "chibi", "cel shading", "kitsune")
    ),
    "icon": frozenset(("icon", "sticker", "logo")),
    "lettering": frozenset(("readable text", "calligraphy")),
}
_AS: dict[Intent, str] = {
    "photo": "a photo",
    "anime": "an anime picture",
    "icon": "an icon or sticker",
    "painting": "a picture in an artist's manner",
    "lettering": "readable text",
    "any": "a picture",
}

SAYS_SO = 0.25
"""A model whose name or card says the intent."""
SAYS_OTHER = 0.2
"""... that says another one only."""
OFFLOADED = 0.15
"""Parts have to wait in the computer's memory: slower."""
LORA_FITS = 1.0
"""The person named a LoRA of the family: this decides."""


@dataclass(frozen=True)
class ModelChoice:
    """`model` None: nothing can be drawn with; `why` says why. `runners_up`: with why not."""

    model: Card | None
    why: str
    intent: Intent
    runners_up: tuple[tuple[Card, str], ...] = ()


def intent_of(wish: Wish, prompt: str) -> Intent:
    """What kind of picture a wish asks for."""
    spoken = set(raw_words(wish.text))
    if '"' in prompt and {"text", "sign", "says", "reads", "title", "word"} & spoken:
        return "lettering"
    for intent in ("icon", "anime", "photo", "lettering"):
        if spoken & _SAID.get(intent, frozenset()) or wish.terms.keys() & _TERMS[intent]:
            return intent
    return "painting" if wish.style_terms else "any"


def select_model(
    prompt: str,
    models: Sequence[Card],
    *,
    memory_gb: float | MemoryOf | None = None,
    lora_families: Collection[str] = (),
    starter_can: Callable[[str], bool] | None = None,
) -> ModelChoice:
    """The installed model that suits a wish best.

    `models`: what is installed, `problem` set for what cannot be drawn with here. `memory_gb`: of
    the GPU that draws, or a function that tells it for a model; None: not known, all fit.
    `lora_families`: of the LoRAs that the person named. `starter_can`: whether the starter was
    taught what a prompt asks for; it is taken for nothing else as long as there is another model.
    Deterministic; ties by name.
    """
    intent = intent_of(parse_wish(prompt), prompt)
    memory_of = memory_gb if callable(memory_gb) else lambda _model: memory_gb
    usable: list[tuple[float, Card]] = []
    told: list[tuple[Card, str]] = []
    for model in models:
        problem = _problem(model, memory_of(model))
        if problem is not None:
            told.append((model, problem))
            continue
        score = _skill(model, intent) - (OFFLOADED if _offloaded(model, memory_of(model)) else 0.0)
        score += LORA_FITS * (model.family in lora_families)
        if model.family == STARTER:
            knows = starter_can is not None and starter_can(prompt)
            score = score if knows else score - 1.0
        usable.append((score, model))
    usable.sort(key=lambda pair: (-round(pair[0], 6), pair[1].name.casefold(), pair[1].key))
    if not usable:
        why = told[0][1] if told else "No model is installed."
        return ModelChoice(None, why, intent, tuple(told))
    best = usable[0][1]
    for _, model in usable[1:]:
        told.append((model, _behind(best, model, intent, memory_of, lora_families)))
    why = _why(best, intent, len(usable), memory_of(best), lora_families)
    return ModelChoice(best, why, intent, tuple(told))


def _skill(model: Card, intent: Intent) -> float:
    table = _VARIANT_SKILL if model.variant else _SKILL.get(model.family or "", {})
    skill = table.get(intent, table.get("any", 0.3) - 0.1)
    says = _says(model)
    if intent in says:
        return skill + SAYS_SO
    if intent not in ("any", "lettering") and says:
        return skill - SAYS_OTHER
    return skill


def _says(model: Card) -> set[Intent]:
    """The intents that a model's own words name."""
    spoken = set(raw_words(" ".join((model.name.replace("_", " "), model.about))))
    spoken |= {plain(tag) for tag in model.tags}
    return {intent for intent, words in _TOLD.items() if spoken & words}


def _problem(model: Card, memory_gb: float | None) -> str | None:
    if model.problem is not None:
        return f"It cannot be used: {model.problem}"
    family = load_families().get(model.family or "")
    if family is None:
        return "Kizy does not know what family of models it is of."
    need = family.memory.for_file(model.key).offload_gb
    if memory_gb is not None and memory_gb < need:
        return f"It needs about {need:g} GB of GPU memory, and there are {memory_gb:g} GB."
    return None


def _offloaded(model: Card, memory_gb: float | None) -> bool:
    family = load_families().get(model.family or "")
    if family is None or memory_gb is None:
        return False
    return memory_gb < family.memory.for_file(model.key).gb


def _why(
    best: Card,
    intent: Intent,
    many: int,
    memory_gb: float | None,
    lora_families: Collection[str],
) -> str:
    if many == 1 and best.family != STARTER:
        why = "It is the only model that can be drawn with here."
    elif best.family in lora_families:
        why = "It is of the family that the LoRA you named was made for."
    elif best.family == STARTER:
        why = (
            "It was taught what you ask for, and is here already."
            if many > 1
            else "It is the only model here; it knows everyday things as icons and stickers."
        )
    elif intent in _says(best):
        why = f"You asked for {_AS[intent]}, and this model says it is made for that."
    elif intent == "any":
        why = "You named no manner of drawing, and it is the most able model here."
    else:
        why = f"You asked for {_AS[intent]}, and of the models here it is the most able at that."
    if _offloaded(best, memory_gb):
        why += " Part of it waits in the computer's memory, which makes it slower."
    return why


def _behind(
    best: Card,
    model: Card,
    intent: Intent,
    memory_of: MemoryOf,
    lora_families: Collection[str],
) -> str:
    if best.family in lora_families and model.family not in lora_families:
        return "The LoRA you named was made for another family."
    if model.family == STARTER:
        return "It draws only the everyday things that it was taught."
    says = _says(model)
    if says and intent not in says and intent != "any":
        return f"It is made for something else than {_AS[intent]}."
    if _offloaded(model, memory_of(model)) and not _offloaded(best, memory_of(best)):
        return "It is too large for the GPU's memory in one piece."
    return f'"{best.name}" suits {_AS[intent]} better.'
