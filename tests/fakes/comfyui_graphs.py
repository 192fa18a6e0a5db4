"""Small graphs to send to the fake, and to a real ComfyUI where they need no model."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

from .comfyui_nodes import Graph


@dataclass(frozen=True)
class Compiled:
    """What the client wants of a compiled template."""

    graph: Mapping[str, Mapping[str, Any]]
    outputs: tuple[str, ...] = ()
    samplers: Mapping[str, int] = field(default_factory=dict)


def new_id() -> str:
    """A prompt id."""
    return str(uuid.uuid4())


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """One node of a graph."""
    return {"class_type": class_type, "inputs": inputs}


def picture_graph(color: int = 0x336699, *, prefix: str = "Kizy/picture") -> Graph:
    """The smallest graph that saves a picture; its output is the node "2". Needs no model."""
    return {
        "1": node("EmptyImage", width=64, height=48, batch_size=1, color=color),
        "2": node("SaveImage", images=["1", 0], filename_prefix=prefix),
    }


def picture(color: int = 0x336699) -> Compiled:
    """`picture_graph` as the client takes it."""
    return Compiled(picture_graph(color), ("2",))


def drawing_graph(
    *,
    seed: int = 1,
    steps: int = 4,
    checkpoint: str = "sd_xl_base_1.0.safetensors",
    width: int = 128,
    lora: str | None = None,
) -> Graph:
    """Text to image; the sampler is "5", the output "7"."""
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "2": node("CLIPTextEncode", clip=["1", 1], text="a red fox"),
        "3": node("CLIPTextEncode", clip=["1", 1], text=""),
        "4": node("EmptyLatentImage", width=width, height=128, batch_size=1),
        "5": node(
            "KSampler",
            model=["1", 0],
            positive=["2", 0],
            negative=["3", 0],
            latent_image=["4", 0],
            seed=seed,
            steps=steps,
            cfg=7.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="Kizy/picture"),
    }
    if lora is not None:
        graph["8"] = node(
            "LoraLoader",
            model=["1", 0],
            clip=["1", 1],
            lora_name=lora,
            strength_model=1.0,
            strength_clip=1.0,
        )
        graph["5"]["inputs"]["model"] = ["8", 0]
    return graph


def drawing(*, seed: int = 1, steps: int = 4, width: int = 128, **options: Any) -> Compiled:
    """`drawing_graph` as the client takes it."""
    graph = drawing_graph(seed=seed, steps=steps, width=width, **options)
    return Compiled(graph, ("7",), {"5": steps})


def slow_graph(nodes: int = 60) -> Graph:
    """Runs for seconds on a real ComfyUI without a model; the output is "save"."""
    graph = {"0": node("EmptyImage", width=1500, height=1500, batch_size=1, color=nodes)}
    for number in range(1, nodes + 1):
        graph[str(number)] = node(
            "ImageScale",
            image=[str(number - 1), 0],
            upscale_method="lanczos",
            width=1500 + number % 2,
            height=1500,
            crop="disabled",
        )
    graph["save"] = node("SaveImage", images=[str(nodes), 0], filename_prefix="Kizy/slow")
    return graph


def new_slow_graph(count: int = 60) -> tuple[dict[str, Any], str]:
    """A slow graph that was never run before, and a prompt id."""
    graph = slow_graph(count)
    graph["0"]["inputs"]["color"] = time.time_ns() % 0xFFFFFF
    return graph, new_id()


def new_picture_graph() -> dict[str, Any]:
    """A quick graph that was never run before."""
    return picture_graph(time.time_ns() % 0xFFFFFF)


def plain_png(color: int) -> bytes:
    """A small picture of one colour."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (color, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()
