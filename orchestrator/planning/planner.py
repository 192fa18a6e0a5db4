"""(request, what there is, what the engine can do) -> Plan. Pure: the same facts, the same Plan.

Every choice leaves a reason in plain words. Names are resolved before (see `app.py`): the planner
gets entries, not names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...catalog.families.family import Family
from ...catalog.families.styles import Style
from ...catalog.index.models import ModelEntry
from ...core.errors import InputError, PictureError, nearest
from ...core.picture_files import MASK_WHITE
from ...core.plan import (
    ModelFile,
    PictureFacts,
    Plan,
    PlannedControl,
    PlannedLora,
    PlannedMask,
    PlannedStart,
    Reason,
)
from ...core.request import Enlarge, GenerationRequest
from .no_effect import idle_options, keeps_start, steps_for, stretched
from .prompts import Added, CountTokens, Reader, negative_words, worded
from .sizes import Size, kept_size, plan_size
from .stages import all_stages

DEFAULT_STRENGTH = 0.6
"""How much of a start picture is drawn anew; between diffusers' img2img default of 0.8, which
keeps little, and ComfyUI's templates, which begin at 0.5 to 0.87."""

DEFAULT_MASKED_STRENGTH = 1.0
"""Inside a mask everything is drawn anew."""

SPACED_BY_NOISE = frozenset({"karras", "exponential"})

ENLARGER = ModelFile(name="starter-enlarger-x4")


@dataclass(frozen=True)
class ChosenLora:
    """A LoRA that is drawn with. `triggers`: words to add to the prompt, which lacks them.

    `is_style`: it brings a manner of drawing. `spoken`: trigger words that the prompt holds.
    """

    file: ModelFile
    triggers: tuple[str, ...]
    model_weight: float
    clip_weight: float
    why: str
    is_style: bool = False
    spoken: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoraChoices:
    """`why_none`: said if none was picked. `notices`: what the choice lacked.

    `by_words_only`: the meaning of the prompt was not looked at; `why_by_words` says why.
    `unhashed`: files among these whose sha256 is not known yet.
    """

    loras: tuple[ChosenLora, ...] = ()
    why_none: str | None = None
    notices: tuple[str, ...] = ()
    by_words_only: bool = False
    why_by_words: str = ""
    unhashed: tuple[Path, ...] = ()


@dataclass(frozen=True)
class EngineFacts:
    """Where it is drawn and why there. `enlarger`: None if nothing there enlarges.

    `controls`: the engine steers by control maps. `second_pass`: it can draw a large picture
    small first, and then again at its size, which keeps its shapes whole. `embeddings`: it reads
    `embedding:NAME` in prompts. `count_tokens`: by the model's tokenizer, where it is at hand.
    """

    kind: str
    why: str
    samplers: tuple[str, ...]
    plain_samplers: frozenset[str] = frozenset()
    enlarger: ModelFile | None = None
    controls: bool = False
    second_pass: bool = False
    embeddings: bool = False
    count_tokens: CountTokens | None = None


@dataclass(frozen=True)
class Choices:
    """Everything that the request names, found in the catalog; `seed` is used for "auto".

    `wording`: lines of the request (prompt, negative, parts) that are said to the model in other
    words. `notices`: what the person has to know of them.
    """

    model: ModelEntry
    model_reason: str
    family: Family
    style: Style | None
    style_reason: str | None
    style_in_prompt: bool
    loras: LoraChoices
    start: PictureFacts | None
    mask: PictureFacts | None
    seed: int
    engine: EngineFacts
    controls: tuple[PictureFacts, ...] = ()
    improve_masks: tuple[PictureFacts | None, ...] = ()
    model_sha256: str | None = None
    raw: bool = False
    wording: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[Reason, ...] = ()


def make_plan(request: GenerationRequest, choices: Choices) -> Plan:
    """Decide everything.

    Raises InputError `size_invalid`, `request_invalid` or `feature_unavailable`; PictureError
    `mask_unusable`.
    """
    refuse_unavailable(request)
    family, engine = choices.family, choices.engine
    if request.controls and not engine.controls:
        message = "The embedded engine has no control maps; ComfyUI has."
        raise InputError("feature_unavailable", message)
    if request.controls and family.comfyui.control is None:
        message = f"There are no ControlNets for {family.name}."
        raise InputError("feature_unavailable", message)
    reasons = [
        Reason(choice="engine", value=engine.kind, why=engine.why),
        Reason(choice="model", value=choices.model.name, why=choices.model_reason),
    ]
    if choices.style is not None and choices.style_reason is not None:
        reasons.append(Reason(choice="style", value=choices.style.name, why=choices.style_reason))
    loras = _loras(choices, reasons)
    size = _size(request, choices, reasons)
    start, mask = _inputs(request, choices, family, reasons)
    steps = _steps(request, family, start, reasons)
    sampler = _sampler(request, choices, reasons)
    plain = sampler in engine.plain_samplers and family.scheduler in SPACED_BY_NOISE
    reader = Reader(family, engine.embeddings and family.long_prompts != "cut", engine.count_tokens)
    added = _added(choices)

    def said(words: str) -> str:
        text, told = worded(choices.wording.get(words, words), added, reader)
        reasons.extend(reason for reason in told if reason not in reasons)
        return text

    prompt = said(request.prompt)
    unwanted = _negative(request, family, reasons)
    negative, told = negative_words(choices.wording.get(unwanted, unwanted), reader)
    reasons += told
    width, height, stages = all_stages(request, choices, size, steps, said, reasons)
    reasons += idle_options(request, family, start.strength if start is not None else 1.0)
    maps = zip(request.controls, choices.controls, strict=True)
    reasons += stretched([(c.kind, f.width, f.height) for c, f in maps], size.width, size.height)
    reasons += choices.notices
    return Plan(
        engine=engine.kind,
        request_prompt=request.prompt,
        prompt=prompt,
        negative=negative,
        family=family.id,
        model=ModelFile(
            name=choices.model.name,
            path=str(choices.model.path) if choices.model.path is not None else None,
            sha256=choices.model_sha256,
        ),
        loras=tuple(loras),
        style=choices.style.id if choices.style is not None else None,
        width=width,
        height=height,
        output_width=size.output_width,
        output_height=size.output_height,
        count=request.count,
        seed=_seed(request, choices, reasons),
        steps=steps,
        guidance=_guidance(request, family, reasons),
        sampler=sampler,
        scheduler="normal" if plain else family.scheduler,
        start=start,
        mask=mask,
        controls=_controls(request, choices),
        stages=stages,
        reasons=tuple(reasons),
    )


def refuse_unavailable(request: GenerationRequest) -> None:
    """Raises InputError `feature_unavailable` or PictureError `mask_unusable`."""
    if request.video is not None:
        raise InputError("feature_unavailable", "Kizy draws no videos yet.")
    if request.mask is not None and request.start is None:
        raise PictureError("mask_unusable", "A mask needs the picture that it lies on (--start).")


def _added(choices: Choices) -> Added:
    chosen = choices.loras.loras
    return Added(
        style=None if choices.style_in_prompt else choices.style,
        triggers=tuple(word for lora in chosen for word in lora.triggers),
        spoken=tuple(word for lora in chosen for word in lora.spoken),
    )


def _loras(choices: Choices, reasons: list[Reason]) -> list[PlannedLora]:
    chosen = choices.loras
    for lora in chosen.loras:
        said = f" Its trigger: {', '.join(lora.triggers)}." if lora.triggers else ""
        value = f"{lora.file.name}:{lora.model_weight:g}"
        reasons.append(Reason(choice="lora", value=value, why=lora.why + said))
    if not chosen.loras and chosen.why_none is not None:
        reasons.append(Reason(choice="lora", value="none", why=chosen.why_none))
    if chosen.by_words_only:
        why = chosen.why_by_words or "what your words mean was not looked at"
        reasons.append(Reason(choice="lora search", value="by words only", why=why))
    for notice in chosen.notices:
        reasons.append(Reason(choice="lora search", value="note", why=notice))
    return [
        PlannedLora(
            file=lora.file,
            model_weight=lora.model_weight,
            clip_weight=lora.clip_weight,
            triggers=lora.triggers,
        )
        for lora in chosen.loras
    ]


def _size(request: GenerationRequest, choices: Choices, reasons: list[Reason]) -> Size:
    start, enlarge = choices.start, request.enlarge
    if choices.engine.enlarger is None:
        if isinstance(enlarge, Enlarge) and enlarge.factor > 1:
            message = "Nothing there enlarges pictures."
            fix = "Put an enlarging model into ComfyUI's models/upscale_models, or leave it out."
            raise InputError("feature_unavailable", message, fix=fix)
        if enlarge is not None and choices.family.enlarge is not None and not choices.raw:
            why = f"nothing there enlarges what {choices.family.name} draws"
            reasons.append(Reason(choice="enlarge", value="left out", why=why))
        enlarge = None
    if keeps_start(request) and start is not None:
        size = kept_size((start.width, start.height), enlarge)
        value = f"{size.output_width}x{size.output_height}"
        reasons.append(Reason(choice="size", value=value, why=size.why))
        return size
    size = plan_size(
        request.size,
        choices.family,
        raw=choices.raw,
        enlarge=enlarge,
        start_size=(start.width, start.height) if start is not None else None,
        exact=choices.mask is not None,
    )
    value = f"{size.output_width}x{size.output_height}"
    reasons.append(Reason(choice="size", value=value, why=size.why))
    return size


def _steps(
    request: GenerationRequest,
    family: Family,
    start: PlannedStart | None,
    reasons: list[Reason],
) -> int:
    steps, why = request.steps, ""
    if steps == "auto":
        steps, why = family.steps[request.quality], f"{family.name} at {request.quality} quality"
    if start is not None and (needed := steps_for(steps, start.strength)) != steps:
        why = f"a share of {start.strength:g} cannot be drawn of {steps}"
        steps = needed
    if why:
        reasons.append(Reason(choice="steps", value=str(steps), why=why))
    return steps


def _guidance(request: GenerationRequest, family: Family, reasons: list[Reason]) -> float:
    if request.guidance != "auto" and family.guidance_kind != "none":
        return request.guidance
    if request.guidance == "auto":
        why = f"what {family.name} is made for"
        reasons.append(Reason(choice="guidance", value=f"{family.guidance:g}", why=why))
    return family.guidance


def _negative(request: GenerationRequest, family: Family, reasons: list[Reason]) -> str:
    asked = family.default_negative if request.negative == "auto" else request.negative
    why = ""
    if not family.negative_prompt:
        why = f"{family.name} takes no negative prompt"
    elif family.guidance_kind == "cfg" and request.guidance == 1:
        why = "at guidance 1 the prompt alone is looked at"
    if asked and why:
        reasons.append(Reason(choice="negative", value="left out", why=why))
        return ""
    return asked


def _sampler(request: GenerationRequest, choices: Choices, reasons: list[Reason]) -> str:
    samplers = choices.engine.samplers
    if request.sampler == "auto" and samplers and choices.family.sampler not in samplers:
        why = f"{choices.family.sampler}, which {choices.family.name} is made for, does not fit"
        reasons.append(Reason(choice="sampler", value=samplers[0], why=f"{why} this model"))
        return samplers[0]
    if request.sampler == "auto":
        why = f"what {choices.family.name} is made for"
        reasons.append(Reason(choice="sampler", value=choices.family.sampler, why=why))
        return choices.family.sampler
    if request.sampler not in choices.engine.samplers:
        message = f'The sampler "{request.sampler}" does not fit {choices.model.name}. ' + nearest(
            request.sampler, choices.engine.samplers
        )
        raise InputError("request_invalid", message)
    return request.sampler


def _seed(request: GenerationRequest, choices: Choices, reasons: list[Reason]) -> int:
    if request.seed != "auto":
        return request.seed
    why = "rolled for you; give it with --seed to draw the same again"
    reasons.append(Reason(choice="seed", value=str(choices.seed), why=why))
    return choices.seed


def _inputs(
    request: GenerationRequest, choices: Choices, family: Family, reasons: list[Reason]
) -> tuple[PlannedStart | None, PlannedMask | None]:
    if request.start is None or choices.start is None:
        return None, None
    strength = request.start.strength
    if strength == "auto":
        masked = choices.mask is not None
        if family.comfyui.reference:
            # It sees the picture beside the noise, so nothing of it has to be left in there.
            strength, why = 1.0, f"{family.name} changes the picture as you say"
        elif masked:
            strength, why = DEFAULT_MASKED_STRENGTH, "inside the mask all is new"
        else:
            strength, why = DEFAULT_STRENGTH, "keeps the layout, changes the rest"
        reasons.append(Reason(choice="strength", value=f"{strength:g}", why=why))
    if choices.start.note is not None:
        why = f"the start picture {choices.start.note}"
        reasons.append(Reason(choice="start", value="its first picture", why=why))
    start = PlannedStart(picture=choices.start.picture, strength=strength)
    if request.mask is None or choices.mask is None:
        return start, None
    own, given = choices.mask, choices.start
    if own.brightest < MASK_WHITE:
        raise PictureError("mask_unusable", "The mask is black: it marks nothing to draw anew.")
    if abs(own.width / own.height - given.width / given.height) > 0.02 * given.width / given.height:
        message = (
            f"The mask ({own.width} x {own.height}) has another shape than the picture "
            f"({given.width} x {given.height})."
        )
        raise PictureError("mask_unusable", message)
    feather = request.mask.feather
    if feather == "auto":
        # One latent of the model, in pixels of the given picture: what the model can resolve.
        feather = max(1, round(family.latent_factor * given.width / family.native_width))
        why = "about as fine as the model can draw"
        reasons.append(Reason(choice="feather", value=f"{feather} pixels", why=why))
    return start, PlannedMask(picture=own.picture, feather=feather)


def _controls(request: GenerationRequest, choices: Choices) -> tuple[PlannedControl, ...]:
    return tuple(
        PlannedControl(
            kind=asked.kind,
            picture=facts.picture,
            strength=asked.strength,
            start=asked.start,
            end=asked.end,
        )
        for asked, facts in zip(request.controls, choices.controls, strict=True)
    )
