"""Records tests/data/object_info.json.gz from a running ComfyUI.

    python main.py --cpu --port 18188 --base-directory SOME_EMPTY_FOLDER     (in ComfyUI's folder)
    python tests/data/record_object_info.py http://127.0.0.1:18188 [--kizy: its nodes alone]

Kept are the nodes of ComfyUI itself (no API nodes, no custom nodes) without what they say to people
(descriptions, tooltips: that is ComfyUI's text), and in a file of their own those of Kizy, if its
pack is there. Lists of files on that machine are replaced by a fixed list
each, so that templates with the well-known names validate.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import requests

TARGET = Path(__file__).with_name("object_info.json.gz")

KIZY_TARGET = Path(__file__).with_name("object_info_kizy.json")

CORE = ("nodes", "comfy_extras.")
"""Beginnings of `python_module` of ComfyUI's own nodes."""
KIZY = ("custom_nodes.ComfyUI-Kizy",)

WORDS = ("description", "output_tooltips")

FILES: dict[str, list[str]] = {
    "checkpoints": [
        "flux1-dev-fp8.safetensors",
        "flux1-schnell-fp8.safetensors",
        "kizy-starter.safetensors",
        "sd3.5_large.safetensors",
        "sd3.5_large_fp8_scaled.safetensors",
        "sd3.5_medium.safetensors",
        "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors",
        "sd_xl_base_1.0.safetensors",
        "v1-5-pruned-emaonly-fp16.safetensors",
    ],
    "diffusion_models": [
        "flux1-dev-kontext_fp8_scaled.safetensors",
        "flux1-dev.safetensors",
        "flux1-schnell.safetensors",
        "sd3.5_large.safetensors",
        "sd3.5_medium.safetensors",
    ],
    "text_encoders": [
        "clip_g.safetensors",
        "clip_l.safetensors",
        "t5xxl_fp16.safetensors",
        "t5xxl_fp8_e4m3fn_scaled.safetensors",
    ],
    "vae": ["ae.safetensors", "sd3.5_vae.safetensors", "pixel_space"],
    "loras": ["detail.safetensors", "people/nadia.safetensors", "watercolour.safetensors"],
    "controlnet": [
        "FLUX.1-dev-ControlNet-Union-Pro-2.0.safetensors",
        "control_v11f1e_sd15_tile_fp16.safetensors",
        "control_v11f1p_sd15_depth_fp16.safetensors",
        "control_v11p_sd15_canny_fp16.safetensors",
        "controlnet-canny-sdxl-1.0.safetensors",
        "controlnet-union-sdxl-1.0-promax.safetensors",
        "sd3.5_large_controlnet_canny.safetensors",
        "sd3.5_large_controlnet_depth.safetensors",
    ],
    "upscale_models": ["RealESRGAN_x4plus.safetensors", "kizy-enlarger-x4.safetensors"],
    "pictures": ["example.png"],
    "scopes": ["everything", "folder: people"],
    "bases": ["auto", "starter"],
    "detectors": ["Kizy"],
}
"""Folder -> what stands in the place of the machine's own list."""

INPUTS: dict[str, str] = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "clip_name4": "text_encoders",
    "vae_name": "vae",
    "lora_name": "loras",
    "control_net_name": "controlnet",
    "UpscaleModelLoader.model_name": "upscale_models",
    "LoadImage.image": "pictures",
    "LoadImageMask.image": "pictures",
    "KizyLoraByIntent.scope": "scopes",
    "KizyTrainLora.base": "bases",
    "KizyDetailer.detector": "detectors",
}
"""Input, with or without its node class -> the folder that its combo lists."""

EMPTIED = ("CLIPVisionLoader", "Load3D", "Load3DAnimation", "LoadVideo", "LoadLatent")
"""Classes whose combos list other files of the machine: their lists become empty."""


def record(url: str, modules: tuple[str, ...] = CORE) -> dict[str, Any]:
    """The server's nodes of these modules, without what belongs to that machine alone."""
    answer = requests.get(f"{url.rstrip('/')}/object_info", timeout=300)
    answer.raise_for_status()
    kept: dict[str, Any] = {}
    for name, entry in sorted(answer.json().items()):
        if str(entry.get("python_module", "")).startswith(modules):
            kept[name] = _without_machine(name, entry)
    return kept


def _without_machine(node_class: str, entry: dict[str, Any]) -> dict[str, Any]:
    for inputs in entry["input"].values():
        for name, spec in inputs.items():
            folder = INPUTS.get(f"{node_class}.{name}") or INPUTS.get(name)
            if node_class in EMPTIED and isinstance(spec[0], list):
                spec[0] = []
            elif folder is not None and (isinstance(spec[0], list) or spec[0] == "COMBO"):
                _set_choices(spec, FILES[folder])
    return entry


def _set_choices(spec: list[Any], choices: list[str]) -> None:
    if isinstance(spec[0], list):
        spec[0] = choices
    else:
        spec[1]["options"] = choices


def _without_words(entry: dict[str, Any]) -> dict[str, Any]:
    """A node without its description and its inputs' tooltips."""
    for inputs in entry["input"].values():
        for spec in inputs.values():
            if len(spec) > 1:
                spec[1].pop("tooltip", None)
    return {key: value for key, value in entry.items() if key not in WORDS}


def write(target: Path, recorded: dict[str, Any]) -> None:
    text = json.dumps(recorded, indent=1, ensure_ascii=False)
    target.write_text(text + "\n", encoding="utf-8")
    print(f"{target.name}: {len(recorded)} nodes, {len(text):,} characters")


def write_compressed(target: Path, recorded: dict[str, Any]) -> None:
    text = json.dumps(recorded, separators=(",", ":"))
    # Without a time: the same nodes give the same file.
    target.write_bytes(gzip.compress(f"{text}\n".encode(), 9, mtime=0))
    print(f"{target.name}: {len(recorded)} nodes, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    kizy = record(sys.argv[1], KIZY)
    if "--kizy" not in sys.argv:
        core = record(sys.argv[1])
        write_compressed(TARGET, {name: _without_words(entry) for name, entry in core.items()})
    if kizy:
        write(KIZY_TARGET, kizy)
