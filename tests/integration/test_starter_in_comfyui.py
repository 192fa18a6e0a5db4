"""The starter in a real ComfyUI: its own nodes draw what Kizy draws in its own process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from kizy.core.plan import Plan, PlannedStart
from kizy.drawing.drawer import Drawer
from kizy.drawing.starter_model import StarterModel
from kizy.imaging.enlarge import enlarge, load_enlarger
from kizy.starter.checkpoint import ENLARGER_FILE
from PIL import Image

from tests.fakes.drawer import plan_of
from tests.unit.drawing.builders import (
    CPU,
    OneModel,
    draw,
    kept,
    lora_pairs,
    planned_lora,
    save_kohya_lora,
)

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = [
    pytest.mark.integration,
    # torch and NumPy disagree inside diffusers' schedulers.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

MEAN, LARGEST = 0.1, 2.0
"""Most that a picture may differ, of 255."""

CHECKPOINT, ENLARGER = "kizy-starter.safetensors", "kizy-enlarger-x4.safetensors"

PROMPTS = [
    ("a red apple on a blue background, 3d render", ""),
    ("A Ghost, FLAT icon!?", "dark, blurry"),
    ("", ""),
    (", ".join(f"{colour} cat" for colour in ("red", "green", "blue", "black") * 6), ""),
    ("a (red:1.4) apple on a (blue background), 3d render", "(dark:1.2), [blurry]"),
    (r"a fox \(animal\), ((cartoon))", ""),
    ("(a red fox and a green owl on a yellow background with a:0.8) " * 3, "blurry"),
]


class Watched(StarterModel):
    """Keeps the pixels of the last picture as they were before they became whole numbers."""

    pixels: torch.Tensor

    def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        self.pixels = super().to_pixels(latents)
        return self.pixels


@pytest.fixture(scope="module")
def starter() -> Watched:
    return Watched("starter", CPU)


def drawn(starter: Watched, plan: Plan) -> np.ndarray:
    """What Kizy draws, in the whole numbers that ComfyUI's SaveImage makes of it."""
    draw(Drawer(CPU, OneModel(starter)), plan)
    return as_saved((starter.pixels[0] + 1) / 2)


def as_saved(pixels: torch.Tensor) -> np.ndarray:
    """Pixels of 0 to 1 (3 x height x width) as SaveImage writes them: it cuts, not rounds."""
    return np.clip(255.0 * pixels.permute(1, 2, 0).numpy(), 0, 255).astype(np.uint8)


def asked(prompt: str = "a red fox, 3d render", negative: str = "", **changes: Any) -> Plan:
    size = {"width": 128, "height": 128, "output_width": 128, "output_height": 128}
    values = {"prompt": prompt, "negative": negative, "seed": 7, "steps": 25}
    return plan_of(**(size | values | changes))


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def graph_of(plan: Plan) -> dict[str, dict[str, Any]]:
    """ComfyUI's plain text-to-image graph for a Plan."""
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "positive": node("CLIPTextEncode", clip=["model", 1], text=plan.prompt),
        "negative": node("CLIPTextEncode", clip=["model", 1], text=plan.negative),
        "latent": node("EmptyLatentImage", width=plan.width, height=plan.height, batch_size=1),
        "sampler": node(
            "KSampler",
            model=["model", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
            seed=plan.seed,
            steps=plan.steps,
            cfg=plan.guidance,
            sampler_name=plan.sampler,
            scheduler=plan.scheduler,
            denoise=1.0,
        ),
        "pixels": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "saved": node("SaveImage", images=["pixels", 0], filename_prefix="kizy"),
    }


def assert_same(ours: np.ndarray, theirs: Image.Image) -> None:
    difference = np.abs(ours.astype(float) - np.asarray(theirs, dtype=float))
    print(f"mean {difference.mean():.4f} of 255, largest {difference.max():.0f}")
    assert difference.mean() <= MEAN
    assert difference.max() <= LARGEST


def test_the_files_are_listed_once_and_under_their_kind(comfyui: RunningComfyUI) -> None:
    listed = {kind: comfyui.get(f"/models/{kind}").json() for kind in ("checkpoints", "loras")}
    assert listed["checkpoints"] == [CHECKPOINT]
    # Other tests on this server may have put LoRAs of their own there.
    assert not any("kizy" in name for name in listed["loras"])
    assert comfyui.get("/models/upscale_models").json() == [ENLARGER]


@pytest.mark.parametrize(("prompt", "negative"), PROMPTS)
def test_a_prompt_draws_the_same(
    comfyui: RunningComfyUI, starter: Watched, prompt: str, negative: str
) -> None:
    plan = asked(prompt, negative)
    (picture,) = comfyui.pictures(graph_of(plan))
    assert_same(drawn(starter, plan), picture)


@pytest.mark.parametrize(("width", "height", "steps"), [(160, 96, 40), (96, 128, 12)])
def test_other_sizes_and_steps_draw_the_same(
    comfyui: RunningComfyUI, starter: Watched, width: int, height: int, steps: int
) -> None:
    plan = asked(width=width, height=height, output_width=width, output_height=height, steps=steps)
    (picture,) = comfyui.pictures(graph_of(plan))
    assert_same(drawn(starter, plan), picture)


def test_a_start_picture_draws_the_same(
    comfyui: RunningComfyUI, starter: Watched, tmp_path: Path
) -> None:
    shade = np.mgrid[0:128, 0:128].sum(0).astype(np.uint8)
    start = Image.fromarray(np.stack([shade, 255 - shade, shade // 2], 2))
    start.save(tmp_path / "start.png")
    begun = PlannedStart(picture=kept(tmp_path / "start.png"), strength=0.6)
    plan = asked("a green frog, flat icon", start=begun)
    graph = graph_of(plan)
    graph["start"] = node("LoadImage", image=comfyui.put_input(start, "start.png"))
    graph["latent"] = node("VAEEncode", pixels=["start", 0], vae=["model", 2])
    # ComfyUI's steps are those that are drawn, Kizy's those of the whole way.
    graph["sampler"]["inputs"] |= {"steps": 15, "denoise": 0.6}
    (picture,) = comfyui.pictures(graph)
    assert_same(drawn(starter, plan), picture)


def test_a_lora_draws_the_same(comfyui: RunningComfyUI, starter: Watched, tmp_path: Path) -> None:
    pairs = lora_pairs(starter.lora_weights(), size=0.05)
    file = save_kohya_lora(tmp_path / "random.safetensors", pairs, alpha=2.0)
    plan = asked(loras=(planned_lora(file, 0.8),))
    graph = graph_of(plan)
    graph["lora"] = node(
        "LoraLoader",
        model=["model", 0],
        clip=["model", 1],
        lora_name=comfyui.put_model("loras", file),
        strength_model=0.8,
        strength_clip=0.8,
    )
    graph["sampler"]["inputs"]["model"] = ["lora", 0]
    for name in ("positive", "negative"):
        graph[name]["inputs"]["clip"] = ["lora", 1]
    (picture,) = comfyui.pictures(graph)
    ours = drawn(starter, plan)
    assert np.abs(ours.astype(float) - drawn(starter, asked())).mean() > 1, "the LoRA does nothing"
    assert_same(ours, picture)
    assert "NOT LOADED" not in comfyui.log.read_text(errors="replace")


def test_a_weight_in_the_prompt_changes_the_picture(comfyui: RunningComfyUI) -> None:
    plain, weighted, escaped = (
        np.asarray(comfyui.pictures(graph_of(asked(prompt)))[0], dtype=float)
        for prompt in ("a red fox", "a (red:1.4) fox", r"a \(red\) fox")
    )
    assert np.abs(plain - weighted).mean() > 0.5
    assert np.abs(plain - escaped).mean() > 0.5


def test_the_enlarger_makes_the_same_of_a_picture(
    comfyui: RunningComfyUI, starter: Watched
) -> None:
    small = Image.fromarray(drawn(starter, asked()))
    name = comfyui.put_input(small, "small.png")
    graph = {
        "picture": node("LoadImage", image=name),
        "enlarger": node("UpscaleModelLoader", model_name=ENLARGER),
        "large": node("ImageUpscaleWithModel", upscale_model=["enlarger", 0], image=["picture", 0]),
        "saved": node("SaveImage", images=["large", 0], filename_prefix="kizy"),
    }
    (large,) = comfyui.pictures(graph)
    network = load_enlarger(ENLARGER_FILE)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        assert_same(as_saved(network(pixels)[0].clamp(0, 1)), large)
    # Kizy's own way goes on beyond the edges as the picture ends; ComfyUI sees black there.
    inner = slice(4 * network.radius, -4 * network.radius)
    ours = np.asarray(enlarge(small, network), dtype=float)[inner, inner]
    assert np.abs(ours - np.asarray(large, dtype=float)[inner, inner]).max() <= LARGEST


def test_a_checkpoint_that_comfyui_saved_draws_the_same(
    comfyui: RunningComfyUI, starter: Watched
) -> None:
    graph = {
        "model": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "saved": node(
            "CheckpointSave",
            model=["model", 0],
            clip=["model", 1],
            vae=["model", 2],
            filename_prefix="kizy-saved",
        ),
    }
    comfyui.run(graph)
    (file,) = (comfyui.base / "output").glob("kizy-saved*.safetensors")
    name = comfyui.put_model("checkpoints", file)
    plan = asked()
    again = graph_of(plan)
    again["model"]["inputs"]["ckpt_name"] = name
    try:
        (picture,) = comfyui.pictures(again)
    finally:
        (comfyui.base / "models/checkpoints" / name).unlink()
    assert_same(drawn(starter, plan), picture)


def test_the_log_has_no_complaint_about_the_starter(comfyui: RunningComfyUI) -> None:
    comfyui.pictures(graph_of(asked(steps=1)))
    text = comfyui.log.read_text(errors="replace")
    for complaint in ("IMPORT FAILED", "missing", "unexpected", "cannot be offered"):
        found = [line for line in text.splitlines() if complaint in line]
        assert not [line for line in found if "unet" in line or "clip" in line or "Kizy" in line]
    assert "Missing VAE keys" not in text
