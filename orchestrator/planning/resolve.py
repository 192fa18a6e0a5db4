"""The entrance of planning: what a request says is read here, once, for every way to Kizy."""

from __future__ import annotations

from ...catalog.lora_tags import lora_tags
from ...core.errors import InputError
from ...core.request import GenerationRequest, LoraChoice

AUTO = "auto"
"""As a LoRA's name: beside those that are named, Kizy may pick others."""


def resolve(request: GenerationRequest) -> GenerationRequest:
    """The request as planning works on it. Raises InputError `prompt_empty`."""
    return without_tags(request)


def without_tags(request: GenerationRequest) -> GenerationRequest:
    """The request with `<lora:NAME:WEIGHT>` taken out of its prompt and named as LoRAs instead.

    Raises InputError `prompt_empty` if nothing else was in the prompt.
    """
    prompt, tags = lora_tags(request.prompt)
    if not tags:
        return request
    if not prompt:
        raise InputError("prompt_empty", "The prompt names LoRAs and nothing to draw.")
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
    return request.model_copy(update={"prompt": prompt, "loras": named})
