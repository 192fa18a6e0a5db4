"""Weights, escapes, BREAK and long prompts draw on a real ComfyUI what they draw in this process.

With a full-size SD 1.5 of random weights (see random_sd15.py), which is turned into a diffusers
folder for the embedded engine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from kizy.orchestrator.settings import ServerSettings, Settings
from PIL import Image
from safetensors.torch import load_file

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    # torch and NumPy disagree inside diffusers' schedulers.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

# Read now: no test sees variables that begin with KIZY_.
COMFYUI = os.environ.get("KIZY_TEST_COMFYUI", "")
PYTHON = os.environ.get("KIZY_TEST_COMFYUI_PYTHON", sys.executable)

NAME = "sd15-random"
LARGEST = 1
"""Of 255."""
LONG = ", ".join(["a red fox in the deep snow near an old tree"] * 10)

PROMPTS = {
    "plain": "a red fox",
    "weights": "a (red:1.4) fox, (snow), ((tree:0.6))",
    "escapes": r"a fox \(animal\), [snow]",
    "long": f"{LONG}, (flat icon:1.3)",
    "break": "a (red:1.3) fox BREAK a tree in the snow",
}


@pytest.fixture(scope="module")
def checkpoint(comfyui: RunningComfyUI) -> Iterator[Path]:
    path = comfyui.base / "models" / "checkpoints" / f"{NAME}.safetensors"
    given = os.environ.get("KIZY_TEST_SD15")
    if given is not None:
        path.symlink_to(Path(given).resolve())
    else:
        script = Path(__file__).with_name("random_sd15.py").resolve()
        command = [PYTHON, str(script), str(path)]
        subprocess.run(command, cwd=COMFYUI, check=True, timeout=600, capture_output=True)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as a diffusers folder, in float16; its tokenizer is ComfyUI's own."""
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
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tensors = load_file(checkpoint)
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(
            cross_attention_dim=768, attention_head_dim=8, sample_size=64
        )
        vae: Any = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        )
        shape = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
        clip: Any = CLIPTextModel(shape)
    shape.eos_token_id, shape.bos_token_id = 49407, 49406
    fill(unet, convert_ldm_unet_checkpoint(tensors, unet.config))
    fill(vae, convert_ldm_vae_checkpoint(tensors, vae.config))
    begin = "cond_stage_model.transformer."
    named = {name.removeprefix(begin): t for name, t in tensors.items() if name.startswith(begin)}
    known = set(clip.state_dict())
    # transformers 5 leaves out the first part of CLIP's names.
    fill(clip, {n if n in known else n.removeprefix("text_model."): t for n, t in named.items()})
    words = Path(COMFYUI, "comfy", "sd1_tokenizer")
    target = tmp_path_factory.mktemp("models") / NAME
    vocabulary = tmp_path_factory.mktemp("vocabulary")
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(words / name, vocabulary / name)
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=clip,
        tokenizer=CLIPTokenizer.from_pretrained(
            str(vocabulary), model_max_length=77, pad_token="<|endoftext|>"
        ),
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(target, safe_serialization=True)
    return target


def fill(module: Any, tensors: dict[str, torch.Tensor]) -> None:
    """All of a module's weights; names that it lacks may stay over (`position_ids`)."""
    loaded = module.load_state_dict(tensors, strict=False, assign=True)
    assert [name for name in loaded.missing_keys if "position_ids" not in name] == []
    for name, buffer in list(module.named_buffers()):
        if buffer.is_meta:
            place, _, last = name.rpartition(".")
            module.get_submodule(place).register_buffer(
                last, torch.arange(buffer.shape[-1])[None], persistent=False
            )


@pytest.fixture(scope="module")
def embedded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(pictures=tmp_path_factory.mktemp("here"), settings=Settings(engine="embedded"))
    yield app
    app.close()


@pytest.fixture(scope="module")
def there(
    comfyui: RunningComfyUI, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    servers = (ServerSettings(name="real", url=comfyui.url),)
    settings = Settings(servers=servers, engine="comfyui")
    app = App(pictures=tmp_path_factory.mktemp("there"), settings=settings)
    yield app
    app.close()


def drawn(app: App, model: str, prompt: str, negative: str) -> np.ndarray:
    values = {
        "prompt": prompt,
        "negative": negative,
        "model": model,
        "size": "64x64",
        "seed": 7,
        "steps": 3,
        "guidance": 4.0,
        "sampler": "euler",
        "enlarge": None,
        "loras": "none",
    }
    plan = app.plan(GenerationRequest.model_validate(values))
    assert plan.prompt == prompt, json.dumps(plan.model_dump(), indent=1)
    events = list(app.follow(app.start(plan)))
    assert events[-1].kind == "end" and events[-1].error is None, events[-1]
    artifact = next(event.artifact for event in events if event.kind == "artifact")
    with Image.open(artifact.path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_draws_the_same_on_both_engines(
    embedded: App, there: App, folder: Path, name: str
) -> None:
    prompt, negative = PROMPTS[name], "(blurry:1.2), dark" if name == "weights" else "blurry"
    here = drawn(embedded, str(folder), prompt, negative)
    difference = np.abs(here - drawn(there, NAME, prompt, negative))
    print(f"{name}: mean {difference.mean():.4f} of 255, largest {difference.max()}")
    assert here.std() > 1, "a picture of one colour"
    assert difference.max() <= LARGEST
