from __future__ import annotations

from collections.abc import Callable

import pytest
from kizy.core.errors import InputError
from kizy.orchestrator.backends.comfyui.workflows.file_names import (
    enlarger_name,
    find_name,
    first_of,
    stem,
    words,
)
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts

LISTED = ("SDXL\\Juggernaut.safetensors", "SDXL\\base.safetensors", "sd15/base.ckpt", "top.sft")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SDXL\\Juggernaut.safetensors", "SDXL\\Juggernaut.safetensors"),
        ("SDXL/Juggernaut.safetensors", "SDXL\\Juggernaut.safetensors"),
        ("sdxl/juggernaut", "SDXL\\Juggernaut.safetensors"),
        ("juggernaut", "SDXL\\Juggernaut.safetensors"),
        ("top", "top.sft"),
        ("sd15\\base", "sd15/base.ckpt"),
        ("other", None),
        ("other/juggernaut", None),
    ],
)
def test_a_name_is_found_with_or_without_folder_and_extension(name: str, found: str | None) -> None:
    assert find_name(name, LISTED) == found


def test_a_name_that_fits_several_files_lists_them() -> None:
    with pytest.raises(InputError, match=r"SDXL\\base\.safetensors, sd15/base\.ckpt") as caught:
        find_name("base", LISTED)
    assert caught.value.code == "name_ambiguous"


def test_the_very_name_wins_over_files_in_folders() -> None:
    assert find_name("a.safetensors", ["x/a.safetensors", "a.safetensors"]) == "a.safetensors"
    assert find_name("a", ["x/a.safetensors", "a.safetensors"]) == "a.safetensors"


def test_the_same_file_on_two_systems_is_one() -> None:
    assert find_name("a", ["x\\a.safetensors", "x/a.safetensors"]) == "x\\a.safetensors"


def test_a_dot_in_a_name_is_no_extension() -> None:
    assert stem("x/sd_xl_base_1.0.safetensors") == "sd_xl_base_1.0"
    assert find_name("sd_xl_base_1.0", ["sd_xl_base_1.0.safetensors"]) is not None
    assert find_name("sd_xl_base_1", ["sd_xl_base_1.0.safetensors"]) is None


def test_the_first_of_several_names_that_is_there_is_taken() -> None:
    listed = ["flux/t5_fp8.safetensors", "t5/t5_fp8.safetensors"]
    assert first_of(["t5_fp16.safetensors", "t5_fp8.safetensors"], listed) == listed[0]
    assert first_of(["t5_fp16.safetensors"], listed) is None


def test_words_of_a_file_are_its_folders_words_too() -> None:
    assert words("SDXL\\canny_full-v2.safetensors") == ("sdxl", "canny", "full", "v2")


def test_kizys_enlarger_is_known_by_the_packs_name(
    server: ServerFacts, server_with: Callable[..., ServerFacts]
) -> None:
    assert enlarger_name(server) == "kizy-enlarger-x4.safetensors"
    assert enlarger_name(server, "realesrgan_x4plus") == "RealESRGAN_x4plus.safetensors"
    assert enlarger_name(server_with(UpscaleModelLoader__model_name=[])) is None
