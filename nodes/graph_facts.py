"""A Plan from the graph that drew a picture: what ComfyUI's common nodes were told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..catalog.index.lora_lookup import file_of
from ..catalog.index.name_lookup import short_name
from ..core.plan import DrawStage, ModelFile, Plan, PlannedLora, Reason, Stage
from . import records

_SEEDS = ("seed", "noise_seed")
_TEXTS = ("text", "prompt", "clip_l", "t5xxl")
_MODELS = ("ckpt_name", "unet_name", "gguf_name")
DETAILER = "KizyDetailer"
ANY_FAMILY = "unknown"


def plan_of(
    graph: Mapping[str, Any], node: str, width: int, height: int, listed: Sequence[str] = ()
) -> Plan | None:
    """The Plan of a picture that arrives at a node; None if no sampler with a seed is above it.

    `width`, `height`: of the picture, in pixels. `listed`: all LoRAs of this ComfyUI; each of the
    Plan's is named so that no other is meant.
    """
    nodes = list(records.above(graph, node))
    details = [found for found in nodes if found[1].get("class_type") == DETAILER]
    drawing = (found for found in nodes if found not in details)
    sampler = next((found for found in drawing if _seed(graph, found[1]) is not None), None)
    if sampler is None and not details:
        return None
    at, about = sampler or details[0]
    seed = _seed(graph, about)
    model = _model(graph, at)
    prompt, picks = _prompt(graph, at, "positive")
    negative, _ = _prompt(graph, at, "negative")
    loaded, picked = _loaded(graph, at), (_planned(*pick) for pick in picks.values())
    loras = tuple(_named(lora, listed) for lora in (*loaded, *picked))
    drawn = _number(graph, at, "width"), _number(graph, at, "height")
    reasons = tuple(
        Reason(choice="loras", value=picked.card.name, why=picked.why)
        for picked, _, _ in picks.values()
    )
    # From the first that was improved to the last.
    improved = [found for at, _ in details[::-1] if (found := records.improved(graph, at))]
    stages: list[Stage] = [stage.stage for stage in improved]
    if sampler is not None or not stages:
        stages.insert(0, DrawStage())
    # Where a given picture was improved: what that was drawn with.
    own = improved[-1] if improved and sampler is None else None
    family = _family(model)
    if family == ANY_FAMILY and improved:
        family = improved[0].family
    return Plan(
        engine="comfyui",
        request_prompt=prompt,
        prompt=prompt,
        negative=negative,
        family=family,
        model=ModelFile(name=model or "unknown"),
        loras=loras,
        width=_side(drawn[0], width),
        height=_side(drawn[1], height),
        output_width=width,
        output_height=height,
        count=1,
        seed=seed if seed is not None and seed >= 0 else 0,
        steps=own.steps if own else max(1, int(_number(graph, at, "steps") or 1)),
        guidance=own.guidance if own else _guidance(graph, at),
        sampler=own.sampler if own else str(_text(graph, at, "sampler_name") or "unknown"),
        scheduler=own.scheduler if own else str(_text(graph, at, "scheduler") or "unknown"),
        stages=tuple(stages),
        reasons=reasons,
    )


def _seed(graph: Mapping[str, Any], about: Mapping[str, Any]) -> int | None:
    """Of a node that samples: one that has a seed of its own, or is fed by a noise node."""
    inputs = about.get("inputs") or {}
    if "noise" in inputs and isinstance(inputs["noise"], list):
        inputs = (graph.get(str(inputs["noise"][0])) or {}).get("inputs") or {}
    elif "steps" not in inputs and "sigmas" not in inputs:
        return None
    for name in _SEEDS:
        value = _followed(graph, inputs.get(name))
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _guidance(graph: Mapping[str, Any], node: str) -> float:
    return max(0.0, float(_number(graph, node, "cfg", "guidance") or 1.0))


def _followed(graph: Mapping[str, Any], value: Any) -> Any:
    """A value, or that of the primitive node that it is linked to."""
    if isinstance(value, list) and len(value) == 2:
        inputs = (graph.get(str(value[0])) or {}).get("inputs") or {}
        return inputs.get("value")
    return value


def _values(graph: Mapping[str, Any], node: str, *names: str) -> Iterator[Any]:
    """Values of inputs of these names, from the nearest node above on."""
    for _, about in records.above(graph, node):
        for name in names:
            value = _followed(graph, (about.get("inputs") or {}).get(name))
            if value is not None and not isinstance(value, list):
                yield value


def _number(graph: Mapping[str, Any], node: str, *names: str) -> float | None:
    values = _values(graph, node, *names)
    return next((v for v in values if isinstance(v, int | float) and v is not True), None)


def _text(graph: Mapping[str, Any], node: str, *names: str) -> str | None:
    return next((v for v in _values(graph, node, *names) if isinstance(v, str)), None)


def _model(graph: Mapping[str, Any], node: str) -> str | None:
    return _text(graph, node, *_MODELS)


def _family(model: str | None) -> str:
    from ..catalog.families.family import load_families
    from ..catalog.formats.recognize import letters

    text = letters(model or "")
    for family in load_families().values():
        if any(name in text for name in family.comfyui.names):
            return family.id
    return ANY_FAMILY


Picks = dict[str, Any]


def _prompt(graph: Mapping[str, Any], node: str, wire: str) -> tuple[str, Picks]:
    """The text behind a wire, and what Kizy picked for it, by the LoRAs' keys."""
    inputs = (graph.get(node) or {}).get("inputs") or {}
    link = inputs.get(wire)
    if wire == "positive" and link is None:
        guider = inputs.get("guider")
        link = guider if isinstance(guider, list) else None
    picks: Picks = {}
    for _at, about in records.above(graph, node) if wire == "positive" else ():
        for value in (about.get("inputs") or {}).values():
            if isinstance(value, list) and len(value) == 2:
                found = records.decided(graph, str(value[0]))
                for pick in found.loras if found is not None else ():
                    picks[pick[0].card.key] = pick
    if not (isinstance(link, list) and len(link) == 2):
        return "", picks
    for at, about in records.above(graph, str(link[0])):
        for name in _TEXTS:
            value = (about.get("inputs") or {}).get(name)
            if isinstance(value, list) and len(value) == 2:
                found = records.decided(graph, str(value[0]))
                if found is not None:
                    return found.prompt, picks
            value = _followed(graph, value)
            if isinstance(value, str) and not (about.get("class_type") or "").startswith("Kizy"):
                return value, picks
        found = records.decided(graph, at)
        if found is not None:
            return found.prompt, picks
    return "", picks


def _loaded(graph: Mapping[str, Any], node: str) -> tuple[PlannedLora, ...]:
    """LoRAs of ComfyUI's own loaders, in the order in which they are applied."""
    found: list[PlannedLora] = []
    for _, about in records.above(graph, node):
        inputs = about.get("inputs") or {}
        name = inputs.get("lora_name")
        if isinstance(name, str):
            weight = _followed(graph, inputs.get("strength_model"))
            clip = _followed(graph, inputs.get("strength_clip", weight))
            found.append(
                PlannedLora(
                    file=ModelFile(name=name),
                    model_weight=float(weight) if isinstance(weight, int | float) else 1.0,
                    clip_weight=float(clip) if isinstance(clip, int | float) else 1.0,
                )
            )
    return tuple(found[::-1])


def _planned(picked: Any, model_weight: float, clip_weight: float) -> PlannedLora:
    return PlannedLora(
        file=ModelFile(name=file_of(picked.card)),
        model_weight=model_weight,
        clip_weight=clip_weight,
        triggers=picked.triggers,
    )


def _named(lora: PlannedLora, listed: Sequence[str]) -> PlannedLora:
    """By the shortest name that is enough, such as the file's without folder and extension."""
    name = short_name(lora.file.name, listed)
    return lora.model_copy(update={"file": ModelFile(name=name)})


def _side(value: float | None, otherwise: int) -> int:
    side = int(value or otherwise)
    return max(8, min(16_384, side))
