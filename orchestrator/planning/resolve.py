"""The entrance of planning: what a request says is read here, once, for every way to Kizy."""

from __future__ import annotations

from dataclasses import dataclass

from ...catalog.lora_tags import lora_tags
from ...core.errors import InputError
from ...core.request import GenerationRequest, LoraChoice

AUTO = "auto"
"""As a LoRA's name: beside those that are named, Kizy may pick others."""


@dataclass(frozen=True)
class Resolved:
    """`request`: as planning works on it. `notices`: what of it counts for nothing, or for
    something else than it may seem, in sentences.
    """

    request: GenerationRequest
    notices: tuple[str, ...] = ()


def resolve(request: GenerationRequest) -> Resolved:
    """The request as planning works on it. Raises InputError `prompt_empty`, `request_invalid`."""
    return without_tags(request)


def without_tags(request: GenerationRequest) -> Resolved:
    """The request with `<lora:NAME:WEIGHT>` taken out of its prompt and named as LoRAs instead.

    Tags elsewhere (negative prompt, lines of parts) name nothing, which is told. Raises InputError
    `prompt_empty` if nothing else was in the prompt, `request_invalid` for a tag that cannot be
    read.
    """
    prompt, tags, notices = lora_tags(request.prompt)
    if not prompt:
        raise InputError("prompt_empty", "The prompt names LoRAs and nothing to draw.")
    request, told = _without_stray_tags(request)
    notices = (*notices, *told)
    if not tags:
        return Resolved(request.model_copy(update={"prompt": prompt}), notices)
    named = tuple(
        LoraChoice(
            name=tag.name,
            model_weight="auto" if tag.model_weight is None else tag.model_weight,
            clip_weight="auto" if tag.clip_weight is None else tag.clip_weight,
        )
        for tag in tags
    )
    if request.loras == "auto":
        named = (*named, LoraChoice(name=AUTO))
    elif not isinstance(request.loras, str):
        named = (*request.loras, *named)
    changed = request.model_copy(update={"prompt": prompt, "loras": named})
    return Resolved(changed, notices)


def _without_stray_tags(request: GenerationRequest) -> tuple[GenerationRequest, tuple[str, ...]]:
    """Without the tags in its negative prompt and in the lines of its parts."""
    negative, stray, notices = lora_tags(request.negative)
    if stray:
        notices = (*notices, "LoRAs in the negative prompt count for nothing.")
    improve = []
    for one in request.improve:
        lines = [lora_tags(line) for line in one.prompts]
        if any(tags for _, tags, _ in lines):
            note = "LoRAs in the line of a part count for nothing: they are drawn with as a whole."
            notices = (*notices, note)
        notices = (*notices, *(note for _, _, told in lines for note in told))
        improve.append(one.model_copy(update={"prompts": tuple(text for text, _, _ in lines)}))
    changed = request.model_copy(update={"negative": negative, "improve": tuple(improve)})
    return changed, tuple(dict.fromkeys(notices))
