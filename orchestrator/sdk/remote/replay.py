"""The Plan inside a picture as a request, for servers that plan by themselves. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from ....catalog.families.family import load_families
from ....core.plan import EnlargeStage, ImproveStage, InputPicture, ModelFile, Plan
from ....core.request import GenerationRequest, parse_request
from ...planning.sizes import MAX_GROWTH

NameOf = Callable[[InputPicture], str]
"""How a request names a picture that the Plan begins with: by path or id."""


def request_of(plan: Plan, name_of: NameOf) -> GenerationRequest:
    """The request that is planned like this again, as far as a request can say it."""
    values: dict[str, Any] = {
        "prompt": plan.request_prompt,
        "negative": plan.negative,
        "model": plan.model.name,
        "style": plan.style or "auto",
        "loras": [
            {
                "name": lora.file.name,
                "model_weight": lora.model_weight,
                "clip_weight": lora.clip_weight,
            }
            for lora in plan.loras
        ]
        or "none",
        "count": plan.count,
        "seed": plan.seed,
        "steps": plan.steps,
        "guidance": plan.guidance,
        "sampler": plan.sampler,
    }
    grown, factor = _enlarging(plan)
    values["enlarge"] = grown
    if plan.mask is None and plan.draws:
        # Under a mask, and of what is kept, the picture's own size holds.
        width, height = round(plan.output_width / factor), round(plan.output_height / factor)
        values["size"] = f"{width}x{height}"
    if plan.start is not None:
        kept = 0.0 if not plan.draws else plan.start.strength
        values["start"] = {"picture": name_of(plan.start.picture), "strength": kept}
    if plan.mask is not None:
        picture = name_of(plan.mask.picture)
        values["mask"] = {"picture": picture, "feather": plan.mask.feather}
    values["controls"] = [
        {
            "kind": control.kind,
            "picture": name_of(control.picture),
            "strength": control.strength,
            "start": control.start,
            "end": control.end,
        }
        for control in plan.controls
    ]
    values["improve"] = [
        {
            "what": stage.what,
            "amount": stage.amount,
            "mask": name_of(stage.mask) if stage.mask is not None else None,
            "prompts": stage.prompts,
        }
        for stage in plan.stages
        if isinstance(stage, ImproveStage)
    ]
    return parse_request(GenerationRequest, values)


def _enlarging(plan: Plan) -> tuple[Any, float]:
    """The request's `enlarge`, and how many times larger that makes what its `size` says."""
    factors = [stage.factor for stage in plan.stages if isinstance(stage, EnlargeStage)]
    if not factors:
        return None, 1.0
    known = load_families().get(plan.family)
    own = (known.enlarge if known is not None and plan.draws else None) or 1.0
    if own > 1 and math.prod(factors) <= MAX_GROWTH:
        return "auto", 1.0
    factor = min(8.0, max(1.0, math.prod(factors) / own))
    return {"factor": factor}, factor


def differences(drawn: Plan, planned: Plan) -> list[str]:
    """What a server would do otherwise than the picture was drawn, in words; [] for nothing."""
    before, after = _facts(drawn), _facts(planned)
    return [
        f"{name} {after[name]} (it was {before[name]})"
        for name in before
        if before[name] != after[name]
    ]


def _facts(plan: Plan) -> dict[str, str]:
    """What decides the pixels, by plain names."""
    loras = (f"{_stem(lora.file)}:{lora.model_weight:g}" for lora in plan.loras)
    return {
        "model": _stem(plan.model),
        "LoRAs": ", ".join(loras) or "none",
        "prompt": f'"{plan.prompt}"',
        "negative prompt": f'"{plan.negative}"',
        "size": f"{plan.output_width}x{plan.output_height}",
        "drawn size": f"{plan.width}x{plan.height}",
        "seed": str(plan.seed),
        "steps": str(plan.steps),
        "guidance": f"{plan.guidance:g}",
        "sampler": plan.sampler,
        "scheduler": plan.scheduler,
        "stages": ", ".join(stage.kind for stage in plan.stages),
        "engine": plan.engine or "embedded",
    }


def _stem(file: ModelFile) -> str:
    return PurePosixPath(file.name.replace("\\", "/")).stem.casefold()
