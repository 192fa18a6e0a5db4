"""A prompt that is a pasted block of generation parameters, as A1111, Forge and Civitai write them.

It is read as what it is: prompt, negative prompt and settings. What the request itself says goes
before; what the block names and cannot be taken is told, for it is a hint from another machine.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ...catalog.search.lora_tags import lora_tags
from ...core.errors import InputError, KizyError
from ...core.parameters import Parameters, read_parameters
from ...core.plan import Plan, Reason
from ...core.request import GenerationRequest, parse_request

MAX_TOLD = 300
"""Letters of the list of what was not taken."""

_SAMPLERS = {
    "euler a": "euler_ancestral",
    "dpm2": "dpm_2",
    "dpm2 a": "dpm_2_ancestral",
    "dpm++ 2s a": "dpmpp_2s_ancestral",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ sde": "dpmpp_sde",
    "dpm++ 2m sde": "dpmpp_2m_sde",
    "dpm++ 2m sde heun": "dpmpp_2m_sde_heun",
    "dpm++ 3m sde": "dpmpp_3m_sde",
    "unipc": "uni_pc",
    "ddim cfg++": "ddim",
}
"""A1111's names (modules/sd_samplers_kdiffusion.py, sd_samplers_timesteps.py there) -> ComfyUI's;
all others are the same but for letters' case and blanks."""

_SCHEDULES = (
    "karras",
    "exponential",
    "sgm uniform",
    "simple",
    "normal",
    "beta",
    "kl optimal",
    "align your steps",
    "polyexponential",
    "ddim uniform",
)
_UNSAID = ("", "automatic", "uniform")

_PASSED_OVER = frozenset(
    {
        "version",
        "model hash",
        "hashes",
        "lora hashes",
        "ti hashes",
        "vae hash",
        "civitai resources",
        "civitai metadata",
        "created date",
        "batch size",
        "batch pos",
        "user",
    }
)
"""Facts that ask for nothing."""

_TAKEN = frozenset(
    {
        "steps",
        "sampler",
        "schedule type",
        "schedule",
        "cfg scale",
        "distilled cfg scale",
        "seed",
        "size",
        "model",
        "denoising strength",
    }
)

_FAULTS = {
    "model_unknown": "model",
    "family_unknown": "model",
    "model_folder_invalid": "model",
    "model_file_pickled": "model",
    "server_model_missing": "model",
    "path_refused": "model",
    "lora_unknown": "loras",
    "lora_other_family": "loras",
    "size_invalid": "size",
    "request_invalid": "sampler",
}
"""An error's code -> the field of the request that it may speak of."""

Decision = TypeVar("Decision")

_WORDS = {"model": "model", "loras": "LoRAs", "size": "size", "sampler": "sampler"}


@dataclass(frozen=True)
class Pasted:
    """`request`: with what the block says. `hints`: its fields that only the block asks for.

    `schedule`: the noise schedule that it names, in ComfyUI's words.
    """

    request: GenerationRequest
    hints: frozenset[str] = frozenset()
    schedule: str | None = None
    notices: tuple[str, ...] = field(default_factory=tuple)

    def without(self, error: KizyError) -> Pasted:
        """The same without the hint that the error speaks of. Raises the error if it is none."""
        name = _FAULTS.get(error.code)
        if name is None or name not in self.hints:
            raise error
        request, note = self.request, f"the pasted {_WORDS[name]} cannot be taken: {error.message}"
        if name == "loras":
            prompt = lora_tags(request.prompt)[0]
            request = request.model_copy(update={"prompt": prompt})
        else:
            request = request.model_copy(update={name: "auto"})
        notices = (*self.notices, note)
        return replace(self, request=request, hints=self.hints - {name}, notices=notices)

    def told(self, plan: Plan) -> Plan:
        """The Plan with the notices among its reasons."""
        notices = list(self.notices)
        if self.schedule not in (None, plan.scheduler):
            notices.append(
                f"the pasted schedule {self.schedule} is not taken: "
                f"it is drawn with {plan.scheduler}, which the model is made for"
            )
        told = (Reason(choice="prompt", value="pasted", why=note) for note in notices)
        return plan.model_copy(update={"reasons": (*plan.reasons, *told)})


def planned(request: GenerationRequest, plan: Callable[[GenerationRequest], Plan]) -> Plan:
    """The Plan of a request whose prompt may be a pasted block. Raises what `plan` raises."""
    found, pasted = decided(request, plan)
    return found if pasted is None else pasted.told(found)


def decided(
    request: GenerationRequest, decide: Callable[[GenerationRequest], Decision]
) -> tuple[Decision, Pasted | None]:
    """What is decided about a request, without the hints of a pasted block that cannot be taken;
    and the block, None if the prompt is none. Raises what `decide` raises.
    """
    pasted = read_pasted(request)
    if pasted is None:
        return decide(request), None
    while True:
        try:
            return decide(pasted.request), pasted
        except KizyError as error:
            # Each time one hint fewer: at last none of it is the block's.
            pasted = pasted.without(error)


def read_pasted(request: GenerationRequest) -> Pasted | None:
    """What a request means whose prompt is a block; None for any other.

    Raises InputError `prompt_empty` for a block without a prompt.
    """
    block = read_parameters(request.prompt)
    if block is None:
        return None
    if not block.prompt:
        raise InputError("prompt_empty", "What was pasted has settings and no prompt.")
    wishes, schedule, notices = _wishes(block, request)
    changes: dict[str, Any] = {"prompt": _weaker(block.prompt)}
    if block.negative is not None and request.negative == "auto":
        changes["negative"] = _weaker(block.negative)
    for name, value in wishes.items():
        if getattr(request, name) != "auto":
            continue
        try:
            parse_request(GenerationRequest, {"prompt": "a", name: value})
        except InputError as error:
            notices.append(f"the pasted {name} is not taken: {error.message}")
        else:
            changes[name] = value
    hints = {name for name in ("model", "size", "sampler") if name in changes}
    # A tag that cannot be read is refused by planning.
    with contextlib.suppress(InputError):
        hints |= {"loras"} if lora_tags(block.prompt)[1] else set()
    said = "read as pasted parameters: prompt, negative prompt and settings"
    values = request.model_dump() | changes
    if "denoising strength" in block.facts:
        values["start"] = _start(request, block.facts["denoising strength"])
    return Pasted(
        parse_request(GenerationRequest, values), frozenset(hints), schedule, (said, *notices)
    )


def _wishes(
    block: Parameters, request: GenerationRequest
) -> tuple[dict[str, Any], str | None, list[str]]:
    """(fields of a request, the schedule, what is to be told)."""
    facts, notices = block.facts, []
    wishes: dict[str, Any] = {}
    for name, key in (("steps", "steps"), ("seed", "seed")):
        if key in facts:
            wishes[name] = _number(facts[key], int)
    guidance = facts.get("distilled cfg scale") or facts.get("cfg scale")
    if guidance:
        wishes["guidance"] = _number(guidance, float)
    if "size" in facts:
        wishes["size"] = re.sub(r"\s+", "", facts["size"])
    sampler, schedule = _sampler(facts.get("sampler", ""))
    schedule = _schedule(facts.get("schedule type") or facts.get("schedule") or "") or schedule
    if sampler:
        wishes["sampler"] = sampler
    model = facts.get("model", "").strip()
    if re.search(r"[\\/]|^[~.]", model):
        notices.append("the pasted model is a path of another machine, and not taken")
    elif model:
        wishes["model"] = model
    others = [
        f"{name} {value}".strip()
        for name, value in facts.items()
        if name not in _TAKEN | _PASSED_OVER
        and value not in ("", "1" if name == "clip skip" else "")
    ]
    if others:
        said = ", ".join(others)
        said = said if len(said) <= MAX_TOLD else said[:MAX_TOLD] + "..."
        notices.append(f"of what was pasted, this is not taken: {said}")
    if "denoising strength" in facts and request.start is None and "hires upscale" not in facts:
        notices.append("the pasted denoising strength needs a start picture, and is not taken")
    return wishes, schedule, notices


def _number(text: str, kind: type[int] | type[float]) -> Any:
    """The number, or the text, which the request refuses in words."""
    try:
        return kind(text)
    except ValueError:
        return text


def _start(request: GenerationRequest, strength: str) -> dict[str, Any] | None:
    if request.start is None:
        return None
    start = request.start.model_dump()
    value = _number(strength, float)
    fits = isinstance(value, float) and 0 <= value <= 1
    return start | {"strength": value} if start["strength"] == "auto" and fits else start


def _sampler(name: str) -> tuple[str, str | None]:
    """(sampler, schedule) of a sampler's name, which may end with the schedule's."""
    plain = " ".join(name.replace("_", " ").casefold().split())
    schedule = None
    for word in _SCHEDULES:
        if plain.endswith(f" {word}"):
            plain, schedule = plain.removesuffix(word).strip(), _schedule(word)
    return _SAMPLERS.get(plain, plain.replace("++", "pp").replace(" ", "_")), schedule


def _schedule(name: str) -> str | None:
    plain = " ".join(name.replace("_", " ").casefold().split())
    return None if plain in _UNSAID else plain.replace(" ", "_")


def _weaker(prompt: str) -> str:
    """A1111's square brackets as ComfyUI's weights: [fox] is a fox of 1 / 1.1."""
    return re.sub(r"(?<!\\)\[([^\[\]:|]+)(?<!\\)\]", r"(\1:0.91)", prompt)
