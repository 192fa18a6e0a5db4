"""What the FakeService has to offer, and the Plans and pictures that it makes of wishes."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

from kizy.core.errors import InputError, UnknownNameError
from kizy.core.plan import InputPicture, ModelFile, Plan, PlannedMask, PlannedStart, Reason
from kizy.core.request import GenerationRequest
from kizy.orchestrator.service import (
    FamilyInfo,
    LoraInfo,
    ModelInfo,
    ServerInfo,
    StyleInfo,
    TemplateInfo,
)
from PIL import Image

SIDE = 64
"""Pixels of a picture's sides, unless the request says WIDTHxHEIGHT."""

MODELS = (
    ModelInfo(name="starter", family="starter", title="Starter", where=("here",)),
    ModelInfo(name="painter-xl", family="sdxl", title="SDXL", where=("gpu1", "gpu2")),
)

LORAS = (
    LoraInfo(name="ink", family="sdxl", about="Ink drawings.", triggers=("ink style",), weight=0.8),
    LoraInfo(name="mimi", family="starter", about="Mimi the cat.", tags=("cat",)),
)

STYLES = (StyleInfo(id="cartoon", words="cartoon", families=("sdxl", "starter")),)

FAMILIES = (
    FamilyInfo(
        id="starter",
        title="Starter",
        licence="Apache-2.0",
        sizes={"square": "256x256"},
        installed=True,
    ),
    FamilyInfo(id="sdxl", title="Stable Diffusion XL", sizes={"square": "1024x1024"}),
)

TEMPLATES = (
    TemplateInfo(id="sdxl-text", title="SDXL, text to picture", task="generate", family="sdxl"),
)

SERVERS = (
    ServerInfo(name="here", kind="embedded", state="ready", device="cpu"),
    ServerInfo(
        name="gpu1", kind="comfyui", state="ready", version="0.3.64", device="A GPU", queue=0
    ),
)

FindFile = Callable[[str], Path]
"""Where a picture lies that a request names. Raises UnknownNameError `upload_unknown`."""


def planned(request: GenerationRequest, find: FindFile) -> Plan:
    """A small Plan. Raises UnknownNameError `model_unknown`, InputError `size_invalid`."""
    model = "starter" if request.model == "auto" else request.model
    known = [info.name for info in MODELS]
    if model not in known:
        message = f'No model is called "{model}". There is: {", ".join(known)}.'
        raise UnknownNameError("model_unknown", message)
    width, height = _size(request.size)
    return Plan(
        engine="embedded",
        request_prompt=request.prompt,
        prompt=request.prompt,
        negative="" if request.negative == "auto" else request.negative,
        family="starter" if model == "starter" else "sdxl",
        model=ModelFile(name=model),
        width=width,
        height=height,
        output_width=width,
        output_height=height,
        count=request.count,
        seed=7 if request.seed == "auto" else request.seed,
        steps=10 if request.steps == "auto" else request.steps,
        guidance=4.0,
        sampler="euler",
        scheduler="simple",
        start=_start(request, find),
        mask=_mask(request, find),
        reasons=(Reason(choice="model", value=model, why="it is there"),),
    )


def colour(seed: int) -> tuple[int, int, int]:
    """What a picture of that seed is filled with."""
    return seed * 37 % 256, seed * 101 % 256, seed // 256 % 256


def picture(width: int, height: int, seed: int) -> bytes:
    """A PNG without a Plan."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def picture_kind(content: bytes) -> str:
    """The kind of a picture, by its first bytes."""
    if content[:3] == b"\xff\xd8\xff":
        return "jpeg"
    return "webp" if content[8:12] == b"WEBP" else "png"


def _size(asked: str) -> tuple[int, int]:
    width = height = SIDE
    if (found := re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", asked)) is not None:
        width, height = int(found[1]), int(found[2])
    elif asked not in ("auto", "square", "portrait", "landscape", "wide", "tall"):
        raise InputError("size_invalid", f'"{asked}" is no size.')
    if not 8 <= width <= 4096 or not 8 <= height <= 4096:
        raise InputError("size_invalid", f"{width}x{height} is out of range.")
    return width, height


def _start(request: GenerationRequest, find: FindFile) -> PlannedStart | None:
    if request.start is None:
        return None
    strength = 0.6 if request.start.strength == "auto" else request.start.strength
    return PlannedStart(picture=_input(find(request.start.picture)), strength=strength)


def _mask(request: GenerationRequest, find: FindFile) -> PlannedMask | None:
    if request.mask is None:
        return None
    return PlannedMask(picture=_input(find(request.mask.picture)), feather=8)


def _input(path: Path) -> InputPicture:
    return InputPicture(path=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
