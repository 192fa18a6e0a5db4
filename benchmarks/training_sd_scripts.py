"""sd-scripts in the training benchmark: the same data and settings, as Kizy's kohya engine has it.

| variable | what it names |
|---|---|
| KIZY_TEST_SD_SCRIPTS | sd-scripts' folder |
| KIZY_TEST_SD_SCRIPTS_PYTHON | the interpreter that has what sd-scripts needs |
| KIZY_TEST_SD15 | a checkpoint of Stable Diffusion 1.5; random weights do |
| KIZY_TEST_SD_SCRIPTS_TOKENIZERS | a folder as its --tokenizer_cache_dir, if it cannot download |

The last one is not needed where the tokenizer can be downloaded. Random weights are made by
tests/integration/random_sd15.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kizy.core.plan import ModelFile
from kizy.trainer import dataset
from kizy.trainer.engines.kohya import KohyaEngine, KohyaSettings, environment, tokenizers_folder
from kizy.trainer.engines.kohya_command import SCRIPTS
from kizy.trainer.engines.kohya_files import write_pictures, write_texts
from kizy.trainer.plan import TrainingPlan

from .training_runs import summary

TOKENIZER = "openai/clip-vit-large-patch14"

WATCH = """
import json, os, runpy, sys, time
import torch
from torch.utils.tensorboard import SummaryWriter

target, script, *words = sys.argv[1:]
steps, peaks, add = [], [], SummaryWriter.add_scalar

def note_peak():
    if torch.cuda.is_available():
        peaks.append(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        return
    with open("/proc/self/status") as file:
        peaks.append(1024 * next(int(x.split()[1]) for x in file if x.startswith("VmHWM")))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

def add_scalar(self, tag, value, *rest, **more):
    if tag == "loss/current":
        steps.append((time.perf_counter(), time.process_time(), float(value)))
        if len(steps) == 1:
            note_peak()
    return add(self, tag, value, *rest, **more)

SummaryWriter.add_scalar = add_scalar
sys.argv, sys.path[0] = [script, *words], os.getcwd()
runpy.run_path(script, run_name="__main__")
note_peak()
with open(target, "w") as file:
    json.dump({"steps": steps, "peaks": peaks}, file)
"""
"""Runs a script of sd-scripts as it is, and notes when it logs a step's loss."""

# unet/, vae/ and text_encoder/config.json of stable-diffusion-v1-5, where they are not the default.
UNET: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "sample_size": 512,
}
CLIP: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}


@dataclass(frozen=True)
class SdScripts:
    """Where everything is; `tokenizers` None: they can be downloaded."""

    folder: Path
    python: Path | None
    checkpoint: Path
    tokenizers: Path | None

    @classmethod
    def found(cls) -> Self | str:
        """As the environment's variables say, or why there is none."""
        named = {
            key: Path(os.environ[f"KIZY_TEST_{key}"])
            for key in ("SD_SCRIPTS", "SD_SCRIPTS_PYTHON", "SD15", "SD_SCRIPTS_TOKENIZERS")
            if os.environ.get(f"KIZY_TEST_{key}")
        }
        for key, what in (("SD_SCRIPTS", "folder of sd-scripts"), ("SD15", "checkpoint")):
            if key not in named:
                return f"KIZY_TEST_{key} names no {what}"
        return cls(
            named["SD_SCRIPTS"],
            named.get("SD_SCRIPTS_PYTHON"),
            named["SD15"],
            named.get("SD_SCRIPTS_TOKENIZERS"),
        )


def sd_scripts(folder: Path, plan: TrainingPlan, checkpoint: Path) -> dict[str, float]:
    """Train the plan with sd-scripts, on the same weights in one file. Raises SystemExit."""
    place = SdScripts.found()
    if isinstance(place, str):
        raise SystemExit(place)
    plan = plan.model_copy(update={"base": ModelFile(name="sd15", path=str(checkpoint))})
    (folder / "plan.json").write_text(plan.model_dump_json())
    extra = {}
    if place.tokenizers is not None:
        shutil.copytree(place.tokenizers, tokenizers_folder())
        extra["HF_HUB_OFFLINE"] = "1"
    command = KohyaEngine(KohyaSettings(place.folder, place.python)).command(folder)
    write_pictures(folder, folder / dataset.PICTURES, dataset.load(folder), plan)
    write_texts(dict(command.files))
    watch, result = folder / "watch.py", folder / "watched.json"
    watch.write_text(WATCH)
    at = command.argv.index(SCRIPTS[plan.family].file)
    words = [*command.argv[:at], str(watch), str(result), *command.argv[at:]]
    done = subprocess.run(
        words,
        cwd=command.folder,
        env=environment({**os.environ, **extra}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        raise SystemExit(f"sd-scripts failed:\n{done.stdout[-4000:]}")
    found = json.loads(result.read_text())
    return summary(found["steps"], *found["peaks"])


def diffusers_folder(checkpoint: Path, folder: Path, tokenizers: Path | None) -> Path:
    """The checkpoint's weights as a diffusers folder, in half precision."""
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from diffusers.loaders.single_file_utils import (
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
    )
    from safetensors.torch import load_file
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tensors = load_file(checkpoint)
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
        text = CLIPTextModel(CLIPTextConfig(**CLIP))
    _fill(unet, convert_ldm_unet_checkpoint(dict(tensors), dict(unet.config)))
    _fill(vae, convert_ldm_vae_checkpoint(dict(tensors), dict(vae.config)))
    begin = "cond_stage_model.transformer."
    words = {k.removeprefix(begin): v for k, v in tensors.items() if k.startswith(begin)}
    # Newer versions of transformers leave out a level of their names.
    short = not any(name.startswith("text_model.") for name in text.state_dict())
    _fill(text, {k.removeprefix("text_model.") if short else k: v for k, v in words.items()})
    own = tokenizers and tokenizers / TOKENIZER.replace("/", "_")
    # diffusers' types name a list of schedulers that no class is of.
    scheduler: Any = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(str(own or TOKENIZER)),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def _fill(module: Any, tensors: dict[str, Any]) -> None:
    known = module.state_dict()
    # position_ids are no weights.
    values = {k: v.half().reshape(known[k].shape) for k, v in tensors.items() if k in known}
    module.load_state_dict(values, assign=True)
