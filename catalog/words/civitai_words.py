"""Civitai's own words (base models, kinds, permissions, levels) in Kizy's.

Sources: the site's REST reference (https://developer.civitai.com/site/reference) and its public
source code (github.com/civitai/civitai: api/v1 handlers, constants of file types and levels).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from ..families.family import load_families

RemoteKind = Literal[
    "lora", "checkpoint", "vae", "text_encoder", "embedding", "controlnet", "upscaler", "config",
    "other",
]  # fmt: skip
RemoteFormat = Literal["safetensors", "pickle", "gguf", "diffusers", "text", "other"]

SAFE_LEVELS = 1 | 2
"""`nsfwLevel` is made of bits: 1 PG, 2 PG-13, 4 R, 8 X, 16 XXX, 32 blocked."""

_KINDS: Mapping[str, RemoteKind] = {
    "checkpoint": "checkpoint",
    "lora": "lora",
    "locon": "lora",
    "dora": "lora",
    "textualinversion": "embedding",
    "vae": "vae",
    "controlnet": "controlnet",
    "upscaler": "upscaler",
}
_FILE_KINDS: Mapping[str, RemoteKind | None] = {
    # None: what the model is.
    "model": None,
    "pruned model": None,
    "vae": "vae",
    "text encoder": "text_encoder",
    "negative": "embedding",
    "config": "config",
}
_FORMATS: Mapping[str, RemoteFormat] = {
    "safetensor": "safetensors",
    "pickletensor": "pickle",
    "gguf": "gguf",
    "diffusers": "diffusers",
}
_SUFFIXES: Mapping[str, RemoteFormat] = {
    ".safetensors": "safetensors",
    ".sft": "safetensors",
    ".ckpt": "pickle",
    ".pt": "pickle",
    ".pth": "pickle",
    ".bin": "pickle",
    ".gguf": "gguf",
    ".json": "text",
    ".txt": "text",
}

# (start of the base model's name without spaces and dots, ids of the family of which the first
# that is in the catalog counts, variant). The longest start that fits counts.
_BASES: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("sd15", ("sd15",), None),
    ("sdxl", ("sdxl",), None),
    ("sdxldistilled", (), None),
    ("pony", ("sdxl",), "pony"),
    ("ponyv7", (), None),
    ("illustrious", ("sdxl",), "illustrious"),
    ("noobai", ("sdxl",), "noobai"),
    ("sd35", ("sd35-large", "sd35"), None),
    ("sd35large", ("sd35-large", "sd35"), None),
    ("sd35medium", ("sd35-medium",), None),
    ("flux1d", ("flux1-dev",), None),
    ("flux1krea", ("flux1-dev",), None),
    ("flux1kontext", ("flux1-kontext", "flux1-dev"), None),
    ("flux1s", ("flux1-schnell",), None),
)

_ADULT_TAGS = frozenset(
    (
        "18+",
        "erotic",
        "explicit",
        "fetish",
        "hentai",
        "naked",
        "nsfw",
        "nude",
        "nudity",
        "porn",
        "pornographic",
        "pornography",
        "r-18",
        "r18",
        "sex",
        "sexual",
        "xxx",
    )
)

# Parts of the names of repositories on Hugging Face.
_REPOS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("stablediffusionv15", ("sd15",)),
    ("stablediffusion15", ("sd15",)),
    ("stablediffusionxl", ("sdxl",)),
    ("sdxlturbo", ("sdxl",)),
    ("stablediffusion35medium", ("sd35-medium",)),
    ("stablediffusion35large", ("sd35-large", "sd35")),
    ("flux1kontext", ("flux1-kontext", "flux1-dev")),
    ("flux1krea", ("flux1-dev",)),
    ("flux1dev", ("flux1-dev",)),
    ("flux1schnell", ("flux1-schnell",)),
)

_ALLOWED = {"image", "rentcivit", "rent", "sell"}


def family_of_base(base_model: str | None) -> tuple[str | None, str | None]:
    """(family id or None, variant or None) of the word for a base model.

    Civitai's ("Flux.1 D"), or a repository on Hugging Face ("owner/FLUX.1-dev").
    """
    text = (base_model or "").lower()
    name = re.sub(r"[^a-z0-9]", "", text.rpartition("/")[2])
    variant = None
    if "/" in text:
        ids = next((ids for part, ids in _REPOS if part in name), ())
    else:
        fits = [row for row in _BASES if name.startswith(row[0])]
        _, ids, variant = max(fits, key=lambda row: len(row[0]), default=("", (), None))
    known = next((id_ for id_ in ids if id_ in load_families()), None)
    return known, variant if known else None


def kind_of_model(word: Any) -> RemoteKind | None:
    """What Civitai's model type is ("LORA", "LoCon", ...); None if it says nothing."""
    if not isinstance(word, str) or not word:
        return None
    return _KINDS.get(word.strip().lower(), "other")


def kind_of_file(word: Any, model: RemoteKind | None) -> RemoteKind:
    """What one file of a model is, by its type ("Model", "Pruned Model", "VAE", ...)."""
    if not isinstance(word, str):
        return model or "other"
    return _FILE_KINDS.get(word.strip().lower(), "other") or model or "other"


def format_of_file(name: str, word: Any = None) -> RemoteFormat:
    """By the name's extension first: it is what will lie on the disk."""
    suffix = "." + name.lower().rpartition(".")[2] if "." in name else ""
    by_name = _SUFFIXES.get(suffix)
    if by_name is not None:
        return by_name
    return _FORMATS.get(word.strip().lower(), "other") if isinstance(word, str) else "other"


def is_adult(model: Mapping[str, Any], version: Mapping[str, Any]) -> bool:
    """Whether the author or Civitai marks it as adult: flag, tags, or no picture that is safe."""
    if any(values.get("nsfw") is True for values in (model, version)):
        return True
    tags = model.get("tags")
    if isinstance(tags, list):
        words = {tag.strip().lower() for tag in tags if isinstance(tag, str)}
        if words & _ADULT_TAGS:
            return True
    levels = (values.get("nsfwLevel") for values in (version, model))
    level = next((level for level in levels if type(level) is int and level > 0), 1)
    return level & SAFE_LEVELS == 0


def is_safe_picture(image: Mapping[str, Any]) -> bool:
    """Whether an example picture is rated PG or PG-13; old answers give words or a flag."""
    level = image.get("nsfwLevel", image.get("nsfw"))
    if isinstance(level, bool):
        return not level
    if isinstance(level, int):
        return 0 < level <= 2
    return level in (None, "None", "Soft")


def licence_in_words(model: Mapping[str, Any]) -> str | None:
    """What the author allows, as sentences; None if the answer does not say.

    `allowCommercialUse` is a list today; it was one word, of which each included the weaker ones,
    and appears as "{Image,RentCivit}" too.
    """
    if "allowCommercialUse" not in model and "allowNoCredit" not in model:
        return None
    uses = _uses(model.get("allowCommercialUse"))
    parts = []
    if model.get("allowNoCredit") is False:
        parts.append("Name the author when you show what you made with it.")
    if "image" in uses:
        parts.append("Pictures made with it may be sold.")
    else:
        parts.append("Pictures made with it may not be sold.")
    if "sell" in uses:
        parts.append("The file itself may be sold.")
    elif uses & {"rent", "rentcivit"}:
        where = "on services that draw" if "rent" in uses else "on Civitai's own service"
        parts.append(f"It may be offered {where}; the file itself may not be sold.")
    else:
        parts.append("The file itself may be neither sold nor offered as a service.")
    if model.get("allowDerivatives") is False:
        parts.append("It may not be merged into other models and shared.")
    elif model.get("allowDifferentLicense") is False:
        parts.append("What is merged from it must keep these terms.")
    return " ".join(parts)


def _uses(value: Any) -> set[str]:
    words = value if isinstance(value, list) else []
    if isinstance(value, str):
        words = value.strip("{}").split(",")
        if len(words) == 1 and words[0].strip().lower() in ("sell", "rent"):
            # The old single word: Sell > Rent > Image > None.
            words = [*words, "Image", "Rent"]
    found = {word.strip().lower() for word in words if isinstance(word, str)}
    return found & _ALLOWED
