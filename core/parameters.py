"""Generation parameters as text, in the form of AUTOMATIC1111's web UI, which Civitai reads:

    a red fox <lora:ink:0.8>
    Negative prompt: blurry
    Steps: 20, Sampler: euler, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 0123456789, ...

Written into pictures, and read where somebody pastes it as a prompt: also on one line, with commas
or blanks where the line breaks were.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .lora_tag import in_tag
from .plan import ModelFile, Plan, PlannedLora

# "AutoV2" and "AutoV3" of Civitai (github.com/civitai/civitai, its model file hashes): the first
# digits of the file's sha256, and of that of its tensors alone, which A1111 writes of LoRAs.
AUTO_V2, AUTO_V3 = 10, 12

_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".gguf")

_NEGATIVE = re.compile(r"(?:\A|[\s,.;])negative prompt:", re.IGNORECASE)
_PROMPT = re.compile(r"\A\s*(?:positive )?prompt:\s*", re.IGNORECASE)
_SHAPES = {
    "steps": r"\d+",
    "sampler": r"[A-Za-z]",
    "cfg scale": r"\d",
    "seed": r"-?\d+",
    "size": r"\d+\s*x\s*\d+",
}
"""Facts that tell a block from words: each with what its value begins with."""
_FACT = re.compile(
    r"(?:\A|(?<=[\s,.;]))(?:"
    + "|".join(rf"(?P<{name.replace(' ', '_')}>{name}):\s*{v}" for name, v in _SHAPES.items())
    + ")",
    re.IGNORECASE,
)
_KEY = re.compile(r"[\s,]*([A-Za-z][\w /.+-]*?)\s*:\s*")
_PLAIN = re.compile(r"[^,\n]*")
_JSON = json.JSONDecoder()


@dataclass(frozen=True)
class Parameters:
    """A block that was read. `negative`: None if it has none. `facts`: by their names in lower
    case, in their order; values as they are written, without quotation marks.
    """

    prompt: str
    negative: str | None = None
    facts: dict[str, str] = field(default_factory=dict)


def read_parameters(text: str) -> Parameters | None:
    """What a pasted block says; None for words that are none.

    It is one if it has a negative prompt by that name, or at least two facts as `Steps: 20`.
    """
    negative = _NEGATIVE.search(text)
    before, facts = _facts(text[: negative.start()] if negative else text)
    prompt, said = text[:before], None
    if negative is not None:
        said = text[negative.end() :]
        if not facts:
            behind, facts = _facts(said)
            said = said[:behind]
    elif not facts:
        return None
    return Parameters(_PROMPT.sub("", _bare(prompt)), None if said is None else _bare(said), facts)


def _bare(text: str) -> str:
    return text.strip(" ,;\n\t\r")


def _facts(text: str) -> tuple[int, dict[str, str]]:
    """(where the facts begin, they); (the text's length, nothing) if there are none."""
    found = list(_FACT.finditer(text))
    if len({match.lastgroup for match in found}) < 2:
        return len(text), {}
    return found[0].start(), dict(_pairs(text[found[0].start() :]))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        key = _KEY.match(text, at)
        if key is None:
            # What is no pair, such as a word behind a comma.
            at = _end(text, at + 1)
            continue
        value, at = _value(text, key.end())
        yield key[1].lower(), value


def _value(text: str, at: int) -> tuple[str, int]:
    """A value and where it ends: JSON where it begins like it, else up to a comma or line break."""
    if text[at : at + 1] in ('"', "{", "["):
        try:
            value, end = _JSON.raw_decode(text, at)
        except (ValueError, RecursionError):
            pass
        else:
            return (value if isinstance(value, str) else text[at:end]), end
    end = _end(text, at)
    return text[at:end].strip(), end


def _end(text: str, at: int) -> int:
    match = _PLAIN.match(text, at)
    return at if match is None else match.end()


def parameters_text(plan: Plan, size: tuple[int, int], version: str) -> str:
    """The generation parameters of a Plan; `size`: of the picture, `version`: Kizy's.

    A hash that is not known is left out.
    """
    tags = [_tag(lora) for lora in plan.loras]
    lines = [" ".join([plan.prompt, *tags])]
    if plan.negative:
        lines.append(f"Negative prompt: {plan.negative}")
    facts = {
        "Steps": plan.steps,
        "Sampler": plan.sampler,
        "Schedule type": plan.scheduler,
        "CFG scale": f"{plan.guidance:g}",
        "Seed": plan.seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": plan.model.name,
    }
    model = plan.model if _is_one_file(plan) else None
    if model is not None and model.sha256:
        facts["Model hash"] = model.sha256[:AUTO_V2]
    if plan.start is not None:
        facts["Denoising strength"] = f"{plan.start.strength:g}"
    loras = [lora.file for lora in plan.loras]
    short = [
        f"{_key(file)}: {file.tensors_sha256[:AUTO_V3]}" for file in loras if file.tensors_sha256
    ]
    if short:
        facts["Lora hashes"] = ", ".join(short)
    facts["Version"] = f"Kizy {version}"
    line = ", ".join(f"{name}: {_quoted(str(value))}" for name, value in facts.items())
    hashes = {f"lora:{_key(file)}": file for file in loras}
    hashes = hashes if model is None else {"model": model, **hashes}
    known = {name: file.sha256[:AUTO_V2] for name, file in hashes.items() if file.sha256}
    # Civitai cuts this one out by its braces, before it reads the others.
    lines.append(f"{line}, Hashes: {json.dumps(known)}" if known else line)
    return "\n".join(lines)


def _tag(lora: PlannedLora) -> str:
    """`<lora:NAME:0.8>`, or with both weights by their names where they differ: A1111 and ComfyUI
    mean different ones by the second of two bare numbers (A1111, extra_networks_lora.py).
    """
    model, clip = f"{lora.model_weight:g}", f"{lora.clip_weight:g}"
    weights = model if model == clip else f"te={clip}:unet={model}"
    return f"<lora:{in_tag(lora.file.name)}:{weights}>"


def _is_one_file(plan: Plan) -> bool:
    """Whether the model's hash is a file's: that of a diffusers folder is known to nobody else."""
    place = plan.model.path or plan.model.name
    return place.lower().endswith(_SUFFIXES) or plan.family == "starter" or plan.engine == "comfyui"


def _key(file: ModelFile) -> str:
    """A LoRA's name without what A1111 and Civitai part these lists by."""
    return re.sub(r'[:",{}]', "", file.name)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ',:\n"') else value
