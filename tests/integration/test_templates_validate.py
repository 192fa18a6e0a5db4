"""The templates against a real ComfyUI: it accepts their graphs, and masks do what they say.

Model files are empty there: ComfyUI looks at names, kinds and ranges before it loads anything.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
from kizy.catalog.families.family import family
from kizy.core.plan import (
    DrawStage,
    EnlargeStage,
    InputPicture,
    ModelFile,
    Plan,
    PlannedControl,
    PlannedLora,
    PlannedMask,
    PlannedStart,
    SecondPassStage,
)
from kizy.imaging.blend import soft_mask
from kizy.orchestrator.backends.comfyui.workflows.compile import compile_plan
from kizy.orchestrator.backends.comfyui.workflows.library import (
    fragment,
    load_templates,
    template_for,
)
from kizy.orchestrator.backends.comfyui.workflows.mask_fragment import softness
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts
from kizy.orchestrator.backends.comfyui.workflows.splice import Assembly
from kizy.orchestrator.backends.comfyui.workflows.validate import problems
from PIL import Image, ImageDraw

from tests.fakes.comfyui import recorded_object_info

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = pytest.mark.integration

MODELS = {
    "starter-checkpoint": "starter",
    "sd15-checkpoint": "v1-5-pruned-emaonly-fp16.safetensors",
    "sdxl-checkpoint": "sd_xl_base_1.0.safetensors",
    "sd35-checkpoint": "sd3.5_large_fp8_scaled.safetensors",
    "sd35-encoders": "sd3.5_large.safetensors",
    "sd35-split": "sd3.5_large.safetensors",
    "sd35-medium-checkpoint": "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors",
    "sd35-medium-encoders": "sd3.5_medium.safetensors",
    "sd35-medium-split": "sd3.5_medium.safetensors",
    "flux1-kontext-split": "flux1-dev-kontext_fp8_scaled.safetensors",
    "flux1-dev-checkpoint": "flux1-dev-fp8.safetensors",
    "flux1-dev-split": "flux1-dev.safetensors",
    "flux1-schnell-checkpoint": "flux1-schnell-fp8.safetensors",
    "flux1-schnell-split": "flux1-schnell.safetensors",
}

EMPTY_FILES = {
    "loras": ("detail.safetensors", "people/nadia.safetensors"),
    "controlnet": (
        "FLUX.1-dev-ControlNet-Union-Pro-2.0.safetensors",
        "control_v11p_sd15_canny_fp16.safetensors",
        "controlnet-union-sdxl-1.0-promax.safetensors",
        "sd3.5_large_controlnet_canny.safetensors",
    ),
    "upscale_models": ("kizy-enlarger-x4.safetensors",),
}

LISTS = {
    "checkpoints": ("CheckpointLoaderSimple", "ckpt_name"),
    "diffusion_models": ("UNETLoader", "unet_name"),
    "text_encoders": ("DualCLIPLoader", "clip_name1"),
    "vae": ("VAELoader", "vae_name"),
    "loras": ("LoraLoader", "lora_name"),
    "controlnet": ("ControlNetLoader", "control_net_name"),
    "upscale_models": ("UpscaleModelLoader", "model_name"),
}

STAGES = (
    DrawStage(),
    SecondPassStage(factor=1.5, strength=0.4, steps=20),
    EnlargeStage(factor=6, model=ModelFile(name="starter-enlarger-x4")),
)

SETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "loras": {"loras": True},
    "start": {"start": 0.6},
    "mask": {"start": 1.0, "mask": 0},
    "control": {"control": True},
    "stages": {"stages": STAGES},
    "all": {"loras": True, "start": 0.7, "mask": 9, "control": True, "stages": STAGES},
}


@pytest.fixture(scope="module")
def models(comfyui: RunningComfyUI) -> Iterator[None]:
    """Every well-known file that ComfyUI does not list yet, with nothing in it."""
    before, made = facts_of(comfyui), []
    wanted = {(folder, name) for folder, names in EMPTY_FILES.items() for name in names}
    wanted |= {(f.folder, f.name) for key in MODELS for f in family(family_of(key)).files}
    wanted |= {("checkpoints", f"sd3.5_{size}.safetensors") for size in ("large", "medium")}
    for folder, name in sorted(wanted):
        if name not in before.choices(*LISTS[folder]):
            file = comfyui.base / "models" / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            made.append(file)
    yield
    for file in made:
        file.unlink()


def family_of(template: str) -> str:
    found = load_templates()[template].family
    assert found is not None
    return found


def facts_of(comfyui: RunningComfyUI) -> ServerFacts:
    answer = requests.get(f"{comfyui.url}/object_info", timeout=300).json()
    return ServerFacts(comfyui.url, "", answer)


def put_picture(comfyui: RunningComfyUI, picture: Image.Image) -> InputPicture:
    """Where compiled graphs look for it, as a picture and as a mask."""
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    path = comfyui.base / "input" / "kizy" / f"{digest}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    picture.save(path.with_name(f"{digest}-mask.png"))
    return InputPicture(path=str(path), sha256=digest)


def plan_for(template: str, picture: InputPicture, chosen: dict[str, Any]) -> Plan:
    facts = family(family_of(template))
    loras = tuple(
        PlannedLora(file=ModelFile(name=name), model_weight=0.8, clip_weight=0.5)
        for name in ("detail", "people\\nadia")
    )
    control = PlannedControl(kind="canny", picture=picture, strength=0.8, start=0.0, end=0.9)
    steers = chosen.get("control", False) and facts.comfyui.control is not None
    start, mask = chosen.get("start"), chosen.get("mask")
    return Plan(
        request_prompt="a fox",
        prompt="a fox",
        negative="",
        family=facts.id,
        model=ModelFile(name=MODELS[template]),
        loras=loras if chosen.get("loras") else (),
        width=facts.native_width,
        height=facts.native_height,
        output_width=facts.native_width,
        output_height=facts.native_height,
        count=1,
        seed=2**63 - 1,
        steps=facts.steps["balanced"],
        guidance=facts.guidance,
        sampler=facts.sampler,
        scheduler=facts.scheduler,
        start=PlannedStart(picture=picture, strength=start) if start is not None else None,
        mask=PlannedMask(picture=picture, feather=mask) if mask is not None else None,
        controls=(control,) if steers else (),
        stages=chosen.get("stages", (DrawStage(),)),
    )


@pytest.mark.parametrize("template", MODELS)
def test_comfyui_accepts_every_template_with_its_fragments(
    template: str, comfyui: RunningComfyUI, models: None
) -> None:
    server = facts_of(comfyui)
    picture = put_picture(comfyui, Image.new("RGB", (64, 64), "grey"))
    for name, chosen in SETS.items():
        plan = plan_for(template, picture, chosen)
        compiled = compile_plan(plan, load_templates()[template], server, tiled_decode=True)
        assert problems(compiled.graph, server) == []
        body = {"prompt": compiled.graph, "prompt_id": str(uuid.uuid4())}
        answer = requests.post(f"{comfyui.url}/prompt", json=body, timeout=60)
        drop(comfyui, body["prompt_id"])
        assert answer.status_code == 200, f"{name}: {answer.text}"
        assert answer.json()["node_errors"] == {}, name


def drop(comfyui: RunningComfyUI, prompt: str) -> None:
    """It was only to be looked at."""
    requests.post(f"{comfyui.url}/queue", json={"delete": [prompt]}, timeout=60)
    requests.post(f"{comfyui.url}/interrupt", json={"prompt_id": prompt}, timeout=60)


def test_the_recorded_nodes_are_this_servers(comfyui: RunningComfyUI, models: None) -> None:
    recorded = recorded_object_info()
    server = facts_of(comfyui)
    used = {c for t in load_templates().values() for c in t.requires.nodes}
    for node_class in used:
        assert server.object_info[node_class]["output"] == recorded[node_class]["output"]
        asked = {part: list(names) for part, names in recorded[node_class]["input"].items()}
        given = server.object_info[node_class]["input"]
        assert {part: list(names) for part, names in given.items()} == asked


def painted(size: tuple[int, int]) -> Image.Image:
    """A disc, a box at the picture's edge and a narrow line, white on black."""
    picture = Image.new("RGB", size, "black")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((40, 30, 160, 150), fill="white")
    draw.rectangle((180, 100, size[0], size[1]), fill="white")
    draw.line((10, 170, 150, 180), fill="white", width=3)
    return picture


@pytest.mark.parametrize("feather", [0, 2, 8, 40])
def test_a_mask_is_as_soft_as_in_the_embedded_engine(feather: int, comfyui: RunningComfyUI) -> None:
    size = (256, 192)
    mask = painted(size)
    black = put_picture(comfyui, Image.new("RGB", size, "black"))
    given = put_picture(comfyui, mask)
    # White drawn over black: the picture that comes out is the mask itself.
    graph: dict[str, dict[str, Any]] = {
        "1": node("LoadImage", image=f"kizy/{black.sha256}.png"),
        "2": node("EmptyLatentImage", width=256, height=192, batch_size=1),
        "3": node("EmptyImage", width=size[0], height=size[1], batch_size=1, color=0xFFFFFF),
        "4": node("SaveImage", images=["3", 0], filename_prefix="mask"),
    }
    ports: dict[str, list[Any]] = {"start": ["1", 0], "latent": ["2", 0], "image": ["3", 0]}
    work = Assembly(graph, ports, ("4",))
    values: dict[str, Any] = {
        "picture": f"kizy/{given.sha256}.png",
        "width": size[0],
        "height": size[1],
    }
    if feather:
        soft = softness(*size, feather)
        values |= {"small_width": soft.width, "small_height": soft.height, "erode": soft.erode}
        values |= {"reach": soft.reach, "radius": soft.radius, "sigma": soft.sigma}
    work.splice(fragment("mask-soft" if feather else "mask"), values)
    drawn = np.asarray(comfyui.pictures(work.pruned())[0].convert("L")).astype(int)
    expected = np.asarray(soft_mask(mask, size, feather)).astype(int)
    inside = np.asarray(mask.convert("L")) >= 128
    assert drawn[~inside].max() == 0
    assert drawn.max() >= 254
    assert np.abs(drawn - expected)[inside].mean() <= (0 if feather == 0 else 20)
    # The narrow line is drawn, too.
    line = (slice(168, 182), slice(30, 140))
    assert drawn[line].max() >= 250


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def test_outside_the_mask_the_start_picture_stays_bit_for_bit(comfyui: RunningComfyUI) -> None:
    """Drawn with the starter, at a size that its own multiple does not fit."""
    server = facts_of(comfyui)
    noise = np.random.default_rng(1).integers(0, 256, (192, 256, 3), dtype=np.uint8)
    start, mask = Image.fromarray(noise), painted((256, 192))
    values = plan_for("starter-checkpoint", put_picture(comfyui, start), {"start": 1.0, "mask": 8})
    plan = values.model_copy(
        update={
            "mask": PlannedMask(picture=put_picture(comfyui, mask), feather=8),
            "width": 160,
            "height": 128,
            "output_width": 256,
            "output_height": 192,
            "steps": 4,
        }
    )
    compiled = compile_plan(plan, template_for(plan, server), server)
    drawn = np.asarray(comfyui.pictures(compiled.graph)[0]).astype(int)
    outside = np.asarray(mask.convert("L")) < 128
    assert (drawn[outside] == noise[outside]).all()
    assert np.abs(drawn[~outside] - noise[~outside]).mean() > 10
