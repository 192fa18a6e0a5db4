"""Which model is trained on, and the files that belong to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kizy.catalog.index.models import find_model
from kizy.core.errors import InputError, UnknownNameError
from kizy.trainer.base_choice import choose_base, find_parts
from kizy.trainer.memory import GIB

from tests.fakes.training import cpu, gpu, write_model

FLUX = {
    "img_in.weight": (3072, 64),
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    "guidance_in.in_layer.weight": (3072, 256),
}
SD15 = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}


def yes() -> bool:
    return True


def no() -> bool:
    return False


@pytest.fixture
def models(kizy_home: Path) -> Path:
    """ComfyUI's folders, with FLUX.1 [dev] in them."""
    write_model(kizy_home / "models" / "diffusion_models" / "flux1-dev.safetensors", FLUX)
    return kizy_home / "models"


def lay(models: Path, *names: str) -> None:
    for name in names:
        write_model(models / name, {"a": (4,)})


def flux_parts(free: float = 24) -> dict[str, str]:
    parts = find_parts(find_model("diffusion_models/flux1-dev"), int(free * GIB))
    return {part: file.name for part, file in parts.items()}


def test_without_a_gpu_the_starter_is_trained(models: Path) -> None:
    entry, why = choose_base("auto", None, cpu(), yes)
    assert entry.name == "starter" and "without GPU" in why


def test_the_model_that_the_person_draws_with_comes_first(models: Path) -> None:
    write_model(models / "dream.safetensors", SD15)
    entry, why = choose_base("auto", "dream", gpu(24), yes)
    assert (entry.name, why) == ("dream", "your settings draw with it")


@pytest.mark.parametrize("kohya", [yes, no])
def test_a_gpu_takes_the_largest_model_that_can_be_trained(
    models: Path, kohya: Callable[[], bool]
) -> None:
    write_model(models / "dream.safetensors", SD15)
    assert choose_base("auto", None, gpu(24), kohya)[0].name == ("dream" if kohya() else "starter")
    lay(models, "vae/ae.safetensors", "text_encoders/clip_l.safetensors")
    lay(models, "text_encoders/t5xxl_fp16.safetensors")
    wanted = "diffusion_models/flux1-dev" if kohya() else "starter"
    assert choose_base("auto", None, gpu(24), kohya)[0].name == wanted


def test_a_model_that_is_too_large_for_the_memory_is_not_chosen(models: Path) -> None:
    write_model(models / "dream.safetensors", SD15)
    lay(models, "vae/ae.safetensors", "clip/clip_l.safetensors", "clip/t5xxl_fp16.safetensors")
    assert choose_base("auto", None, gpu(6), yes)[0].name == "dream"


def test_a_name_that_nothing_has_is_told() -> None:
    with pytest.raises(UnknownNameError):
        choose_base("nothing", None, cpu(), yes)


def test_parts_are_found_in_comfyuis_folders(models: Path) -> None:
    lay(models, "vae/ae.safetensors", "clip/clip_l.safetensors")
    lay(models, "text_encoders/t5xxl_fp16.safetensors")
    assert flux_parts() == {
        "clip_l": "clip_l.safetensors",
        "t5xxl": "t5xxl_fp16.safetensors",
        "ae": "ae.safetensors",
    }


def test_with_little_memory_the_text_encoder_in_8_bits_is_taken(models: Path) -> None:
    lay(models, "vae/ae.safetensors", "clip/clip_l.safetensors")
    lay(models, "clip/t5xxl_fp16.safetensors", "clip/t5xxl_fp8_e4m3fn.safetensors")
    assert flux_parts(24)["t5xxl"] == "t5xxl_fp16.safetensors"
    assert flux_parts(9.5)["t5xxl"] == "t5xxl_fp8_e4m3fn.safetensors"


def test_all_parts_that_are_missing_are_named(models: Path) -> None:
    lay(models, "text_encoders/t5xxl_fp8_e4m3fn_scaled.safetensors")
    with pytest.raises(InputError) as caught:
        flux_parts()
    assert caught.value.code == "base_part_missing"
    for name in ("clip_l.safetensors", "t5xxl_fp16.safetensors", "ae.safetensors"):
        assert name in caught.value.message


def test_the_starter_and_whole_checkpoints_have_no_parts(models: Path) -> None:
    write_model(models / "dream.safetensors", SD15)
    assert find_parts(find_model("starter"), GIB) == {} == find_parts(find_model("dream"), GIB)
