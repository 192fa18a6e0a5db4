"""What other programs left beside a LoRA file: their notes, as facts.

    <name>.metadata.json                     Lora-Manager      (its py/utils/models.py)
    <name>.safetensors.rgthree-info.json     rgthree-comfy     (its src_web/typings/rgthree.d.ts)
    <name>.civitai.info                      Civitai Helper    (a model version as Civitai gives it)
    <name>.cm-info.json                      StabilityMatrix   (its Models/ConnectedModelInfo.cs)
    <name>.swarm.json                        SwarmUI           (its Text2Image/T2IModelHandler.cs)
    <name>.json                              A1111             (its ui_edit_user_metadata.py)
    <name>.txt, <name>.description.txt       A1111             (its ui_extra_networks.py)

All of it is untrusted: whatever is too large, broken or of a wrong kind counts as not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..words.civitai_words import is_safe_picture
from ..words.descriptions import one_line, recommended_weight, text_of_html
from .published_facts import (
    MAX_ABOUT,
    MAX_EXAMPLE,
    MAX_EXAMPLES,
    MAX_NAME,
    MAX_TAG,
    MAX_TAGS,
    MAX_TRIGGER,
    MAX_TRIGGERS,
    Facts,
    from_civitai,
)
from .training_metadata import sensible_weight

MAX_SIDECAR = 5_000_000
"""Bytes; the largest known (with many example pictures) have a few hundred thousand."""

_VERSIONS = {"SD1": "SD 1.5", "SDXL": "SDXL 1.0"}
"""A1111's words for families that are one of Civitai's."""


def sidecar_names(file: str) -> tuple[str, ...]:
    """The names that sidecars of the file may have, what the person wrote in them first."""
    stem = file.rpartition(".")[0] or file
    return tuple(pattern.format(file=file, stem=stem) for pattern in _READERS)


def read_sidecars(folder: Path, file: str, names: Iterable[str]) -> Facts | None:
    """What those of `names` say that are sidecars of the file; None if they say nothing.

    Of each fact counts the first that says it, in the order of `sidecar_names`.
    """
    wanted = set(names)
    found = []
    for name, reader in zip(sidecar_names(file), _READERS.values(), strict=True):
        values = _load(folder / name) if name in wanted else None
        facts = reader(values) if values else None
        if facts is not None:
            found.append(facts)
    return _merged(found)


def from_lora_manager(values: Mapping[str, Any]) -> Facts | None:
    """Facts from Lora-Manager's file. `usage_tips` is JSON within JSON."""
    told = _civitai(values.get("civitai"), values)
    tips = _json(values.get("usage_tips"))
    weight = sensible_weight(tips.get("strength"))
    low, high = sensible_weight(tips.get("strength_min")), sensible_weight(tips.get("strength_max"))
    notes = _text(values.get("notes"))
    own = _facts(
        title=one_line(values.get("model_name"), MAX_NAME),
        about="\n".join(filter(None, (notes, _text(values.get("modelDescription"))))),
        tags=_words(values.get("tags"), MAX_TAG, MAX_TAGS, lower=True),
        base_model=_base(values.get("base_model")),
        weight=weight,
        weight_range=(low, high) if low and high and low < high else None,
    )
    return _merged([facts for facts in (own, told) if facts is not None])


def from_rgthree(values: Mapping[str, Any]) -> Facts | None:
    """Facts from rgthree's file. Of its `trainedWords` count those of Civitai or the person.

    The others are all tags of the data set.
    """
    raw = _mapping(values.get("raw"))
    told = _civitai(raw.get("civitai"), {})
    entries = [_mapping(entry) for entry in _list(values.get("trainedWords"))]
    words = [e.get("word") for e in entries if e.get("civitai") is True or e.get("user") is True]
    pictures = [_mapping(picture) for picture in _list(values.get("images"))]
    low, high = (
        sensible_weight(values.get("strengthMin")),
        sensible_weight(values.get("strengthMax")),
    )
    notes = _text(values.get("userNote"))
    own = _facts(
        title=one_line(values.get("name"), MAX_NAME),
        about="\n".join(filter(None, (notes, _text(values.get("description"))))),
        triggers=_words(words or values.get("triggerWords"), MAX_TRIGGER, MAX_TRIGGERS),
        tags=_words(values.get("userTags"), MAX_TAG, MAX_TAGS, lower=True),
        base_model=_base(values.get("baseModel")),
        examples=_words(
            [p.get("positive") for p in pictures if is_safe_picture(p)], MAX_EXAMPLE, MAX_EXAMPLES
        ),
        weight=round((low + high) / 2, 3) if low and high and low <= high else low or high,
        weight_range=(low, high) if low and high and low < high else None,
    )
    return _merged([facts for facts in (own, told) if facts is not None])


def from_civitai_helper(values: Mapping[str, Any]) -> Facts | None:
    """Facts from Civitai Helper's file; it is empty if Civitai did not know the LoRA."""
    return _civitai(values, {})


def from_a1111(values: Mapping[str, Any]) -> Facts | None:
    """Facts from A1111's file, which the person filled in. A weight of 0 means none."""
    notes, about = _text(values.get("notes")), _text(values.get("description"))
    text = "\n".join(filter(None, (about, notes)))
    weight = sensible_weight(values.get("preferred weight"))
    said, span = recommended_weight(text)
    activation = values.get("activation text")
    return _facts(
        about=text,
        triggers=_words([activation], MAX_TRIGGER, MAX_TRIGGERS),
        base_model=_VERSIONS.get(str(values.get("sd version"))),
        weight=weight or said,
        weight_range=span,
    )


def from_stability_matrix(values: Mapping[str, Any]) -> Facts | None:
    """Facts from StabilityMatrix's file, which repeats what Civitai said."""
    return _facts(
        title=one_line(values.get("UserTitle") or values.get("ModelName"), MAX_NAME),
        about=_text(values.get("ModelDescription")) or _text(values.get("VersionDescription")),
        triggers=_words(values.get("TrainedWords"), MAX_TRIGGER, MAX_TRIGGERS),
        tags=_words(values.get("Tags"), MAX_TAG, MAX_TAGS, lower=True),
        base_model=_base(values.get("BaseModel")),
        mature=values.get("Nsfw") is True,
    )


def from_swarm(values: Mapping[str, Any]) -> Facts | None:
    """Facts from SwarmUI's file: the metadata of a model's header, with or without "modelspec."."""

    def said(name: str) -> Any:
        return values.get(f"modelspec.{name}") or values.get(name)

    about = "\n".join(filter(None, (_text(said("description")), _text(said("usage_hint")))))
    tags = said("tags")
    return _facts(
        title=one_line(said("title"), MAX_NAME),
        about=about,
        triggers=_words([said("trigger_phrase")], MAX_TRIGGER, MAX_TRIGGERS),
        tags=_words(
            tags.split(",") if isinstance(tags, str) else tags, MAX_TAG, MAX_TAGS, lower=True
        ),
        weight=sensible_weight(said("lora_default_weight")),
    )


def from_description(values: Mapping[str, Any]) -> Facts | None:
    """Facts from A1111's description, a plain text (here: of the key "text")."""
    about = _text(values.get("text"))
    weight, span = recommended_weight(about)
    return _facts(about=about, weight=weight, weight_range=span)


_READERS: dict[str, Callable[[Mapping[str, Any]], Facts | None]] = {
    "{stem}.json": from_a1111,
    "{stem}.metadata.json": from_lora_manager,
    "{file}.rgthree-info.json": from_rgthree,
    "{stem}.civitai.info": from_civitai_helper,
    "{stem}.cm-info.json": from_stability_matrix,
    "{stem}.swarm.json": from_swarm,
    "{stem}.description.txt": from_description,
    "{stem}.txt": from_description,
}


def _civitai(version: Any, around: Mapping[str, Any]) -> Facts | None:
    """Facts of a model version as Civitai gives it; None if it is none."""
    if not isinstance(version, dict) or not (version.get("id") or version.get("trainedWords")):
        return None
    description = around.get("modelDescription")
    return from_civitai(version, {"description": description} if description else None)


def _facts(**values: Any) -> Facts | None:
    """Facts with these values; None if there is nothing among them."""
    said = {name: value for name, value in values.items() if value}
    return Facts(**{"title": "", **said}) if said else None


def _merged(found: Sequence[Facts]) -> Facts | None:
    """Of each field the first that says something; marks of any of them."""
    if not found:
        return None
    values: dict[str, Any] = {}
    for name in Facts.model_fields:
        said = [getattr(facts, name) for facts in found]
        values[name] = next((value for value in said if value), said[0])
    values["about"] = "\n".join(dict.fromkeys(f.about for f in found if f.about))[:MAX_ABOUT]
    # A range belongs to the weight beside it.
    first = next((f for f in found if f.weight is not None), None)
    if first is not None:
        values["weight"], values["weight_range"] = first.weight, first.weight_range
    return Facts(**values)


def _load(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIDECAR + 1)
    except (OSError, ValueError):
        return None
    if len(data) > MAX_SIDECAR:
        return None
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = data.decode("utf-16" if wide else "utf-8-sig", "replace")
    return {"text": text} if path.name.lower().endswith(".txt") else _json(text)


def _json(text: Any) -> dict[str, Any]:
    """The JSON object in the text; an empty one if there is none."""
    if not isinstance(text, str):
        return {}
    try:
        return _mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _text(value: Any) -> str:
    return text_of_html(value, MAX_ABOUT)


def _base(value: Any) -> str | None:
    word = one_line(value, 60)
    return None if word in ("", "Unknown", "Other") else word


def _words(values: Any, length: int, most: int, *, lower: bool = False) -> tuple[str, ...]:
    plain = (one_line(value, length).strip(" ,") for value in _list(values))
    kept = (word.lower() if lower else word for word in plain if word)
    return tuple(dict.fromkeys(kept))[:most]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value[:500] if isinstance(value, list) else []
