"""SD 1.5 and SDXL from diffusers folders, from the request to the saved picture."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kizy.core.errors import ModelFileError
from kizy.core.job import Artifact
from kizy.core.request import GenerationRequest, parse_request
from kizy.drawing.memory import Placement
from kizy.drawing.stable_diffusion import StableDiffusionModel
from kizy.orchestrator.app import App
from kizy.orchestrator.storage.artifacts import ArtifactStore
from PIL import Image

from tests.fakes.diffusers_folders import sd15_folder, sdxl_folder
from tests.unit.drawing.builders import lora_pairs, save_kohya_lora

# torch and NumPy disagree inside diffusers' schedulers.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

ON_CPU = Placement(torch.device("cpu"), torch.float32, offload=False)

WISH: dict[str, Any] = {"prompt": "a red fox", "steps": 2, "seed": 1, "size": "64x64"}
FAMILIES = {"sd15": "tiny15", "sdxl": "tinyxl"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    sd15_folder(folder / "tiny15")
    sdxl_folder(folder / "tinyxl")
    return folder


@pytest.fixture
def app(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("KIZY_HOME", str(home))
    (home / "models").symlink_to(models)
    return App(pictures=tmp_path / "out")


def drawn(app: App, **wishes: Any) -> Artifact:
    plan = app.plan(parse_request(GenerationRequest, WISH | wishes))
    events = list(app.follow(app.start(plan)))
    assert events[-1].error is None, events[-1].error
    return next(event.artifact for event in events if event.kind == "artifact")


def pixels(artifact: Artifact) -> np.ndarray:
    with Image.open(artifact.path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("name", FAMILIES.values())
def test_a_folder_is_drawn(app: App, name: str) -> None:
    artifact = drawn(app, model=name, size="128x64")
    assert (artifact.width, artifact.height) == (128, 64)


@pytest.mark.parametrize("name", FAMILIES.values())
def test_the_same_seed_draws_the_same_pixels(app: App, name: str) -> None:
    assert (pixels(drawn(app, model=name)) == pixels(drawn(app, model=name))).all()


@pytest.mark.parametrize("name", FAMILIES.values())
def test_the_prompt_and_the_negative_prompt_change_the_picture(app: App, name: str) -> None:
    plain = pixels(drawn(app, model=name, guidance=7))
    assert (pixels(drawn(app, model=name, guidance=7, prompt="two owls")) != plain).any()
    assert (pixels(drawn(app, model=name, guidance=7, negative="rain")) != plain).any()


@pytest.mark.parametrize("name", FAMILIES.values())
def test_weights_parts_and_the_end_of_a_long_prompt_change_the_picture(app: App, name: str) -> None:
    long = "a red fox in the snow, " * 8
    prompts = ["fox", "(fox:1.3)", "fox BREAK a tree", f"{long}cartoon", f"{long}flat"]
    drawings = [pixels(drawn(app, model=name, guidance=7, prompt=prompt)) for prompt in prompts]
    assert len({drawing.tobytes() for drawing in drawings}) == len(prompts)


@pytest.mark.parametrize(
    "sampler", ["euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "heun"]
)
@pytest.mark.parametrize("strength", [None, 0.5])
def test_samplers_draw_with_and_without_a_start_picture(
    app: App, tmp_path: Path, sampler: str, strength: float | None
) -> None:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "start.png")
    start = {"picture": str(tmp_path / "start.png"), "strength": strength}
    wishes = {"start": start} if strength is not None else {}
    assert drawn(app, model="tiny15", sampler=sampler, steps=4, **wishes).width == 64


def test_a_folder_outside_the_models_folder_is_drawn(app: App, models: Path) -> None:
    assert drawn(app, model=str(models / "tiny15")).plan.family == "sd15"


@pytest.mark.parametrize("name", FAMILIES.values())
def test_a_picture_that_names_no_path_is_replayed_with_the_same_model(
    app: App, tmp_path: Path, name: str
) -> None:
    plan = app.plan(parse_request(GenerationRequest, WISH | {"model": name}))
    store = ArtifactStore(tmp_path / "store", "0")
    saved = store.save(plan, Image.new("RGB", (64, 64)))
    again = app.plan_of(Path(saved.path))
    assert again.model == plan.model


def test_a_model_that_begins_with_noise_alone_gets_a_sampler_that_can(
    app: App, models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "zero"
    shutil.copytree(models / "tinyxl", folder)
    config = folder / "scheduler" / "scheduler_config.json"
    changed = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    config.write_text(json.dumps(json.loads(config.read_text()) | changed))
    artifact = drawn(app, model=str(folder))
    assert artifact.plan.sampler == "euler"
    reasons = {reason.choice: reason.why for reason in artifact.plan.reasons}
    assert "does not fit this model" in reasons["sampler"]


@pytest.mark.parametrize(("kind", "name"), FAMILIES.items())
def test_in_tiles_the_same_picture_is_decoded_of_smaller_pieces(
    models: Path, kind: str, name: str
) -> None:
    model = StableDiffusionModel(name, kind, models / name, ON_CPU)
    side = model.pipe.vae.tile_sample_min_size
    largest: list[int] = []
    model.pipe.vae.decoder.register_forward_hook(
        lambda _module, _inputs, output: largest.append(output.shape[-1])
    )
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = model.to_pixels(latents)
    model.set_tiled_decode(True)
    tiled = model.to_pixels(latents)
    assert tiled.shape == whole.shape
    assert largest[0] == 128 and len(largest) > 2
    assert max(largest[1:]) == 64
    model.set_tiled_decode(False)
    assert torch.equal(model.to_pixels(latents), whole)
    assert model.pipe.vae.tile_sample_min_size == side


def test_with_a_folder_named_a_replay_draws_the_same(app: App) -> None:
    artifact = drawn(app, model="tiny15")
    plan = app.plan_of(Path(artifact.path))
    again = next(e.artifact for e in app.follow(app.start(plan)) if e.kind == "artifact")
    assert (pixels(again) == pixels(artifact)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kohya_lora_changes_the_picture(
    app: App, models: Path, tmp_path: Path, family: str
) -> None:
    name = FAMILIES[family]
    model = StableDiffusionModel(name, family, models / name, ON_CPU)
    # SDXL's LoRAs of sd-scripts name the UNet's layers in the original form.
    blocks = ("lora_unet_input_blocks", "lora_unet_output_blocks", "lora_unet_middle_block")
    if family == "sd15":
        blocks = ("lora_unet_down_blocks", "lora_unet_up_blocks", "lora_unet_mid_block")
    chosen = {
        key: weight
        for key, weight in model.lora_weights().items()
        if ("attn" in key and key.startswith(blocks)) or "self_attn" in key
    }
    assert {key.split("_")[1] for key in chosen} >= {"unet", "te" if family == "sd15" else "te2"}
    path = save_kohya_lora(tmp_path / "fox.safetensors", lora_pairs(chosen), 4.0)
    loras = [{"name": str(path)}]
    plain = pixels(drawn(app, model=name, guidance=7))
    assert (pixels(drawn(app, model=name, guidance=7, loras=loras)) != plain).any()


def test_a_lora_of_the_other_family_is_refused(app: App, tmp_path: Path) -> None:
    name = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    pairs = lora_pairs({name: torch.zeros(640, 2048)})
    path = save_kohya_lora(tmp_path / "xl.safetensors", pairs, 4.0)
    with pytest.raises(ModelFileError) as caught:
        drawn(app, model="tiny15", loras=[{"name": str(path)}])
    assert caught.value.code == "lora_other_family"


def test_nothing_of_diffusers_is_shown_while_it_loads(
    app: App, capfd: pytest.CaptureFixture[str]
) -> None:
    drawn(app, model="tiny15")
    assert "Loading" not in capfd.readouterr().err


def test_nothing_deprecated_is_used_while_it_loads(models: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        StableDiffusionModel("tiny15", "sd15", models / "tiny15", ON_CPU)
    assert [str(w.message) for w in caught if issubclass(w.category, FutureWarning)] == []


def test_without_a_gpu_the_starter_draws_what_it_was_taught(app: App) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")

    def picked(prompt: str) -> str:
        return app.plan(parse_request(GenerationRequest, {"prompt": prompt})).model.name

    assert picked("a fox") == "starter"
    assert picked("a photo of a fox") == "tinyxl"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_unet_can_be_read_later(models: Path, family: str, dtype: torch.dtype) -> None:
    folder, placement = models / FAMILIES[family], replace(ON_CPU, dtype=dtype)
    whole = StableDiffusionModel("whole", family, folder, placement)
    late = StableDiffusionModel("late", family, folder, placement, unet=False)
    assert late.size == whole.size
    names = {key: tuple(weight.shape) for key, weight in whole.lora_weights().items()}
    assert {key: tuple(weight.shape) for key, weight in late.lora_weights().items()} == names
    assert all(weight.is_meta for weight in late.unet.parameters())
    with torch.inference_mode():
        assert late.to_latents(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 8, 8)
    late.read_unet()
    read = late.unet.state_dict()
    assert late.pipe.unet is late.unet and not late.unet.training
    assert all(torch.equal(read[name], one) for name, one in whole.unet.state_dict().items())
    assert not any(weight.requires_grad for weight in late.unet.parameters())


def test_a_damaged_unet_is_told_when_it_is_read(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(models / "tiny15", folder)
    model = StableDiffusionModel("broken", "sd15", folder, ON_CPU, unet=False)
    for file in (folder / "unet").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelFileError) as caught:
        model.read_unet()
    assert caught.value.code == "model_file_damaged"
