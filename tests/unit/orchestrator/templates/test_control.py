from __future__ import annotations

from collections.abc import Callable

import pytest
from kizy.catalog.families.family import family
from kizy.core.errors import EngineError, InputError
from kizy.orchestrator.backends.comfyui.workflows.control import ControlFile, control_file
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts

ServerWith = Callable[..., ServerFacts]


@pytest.mark.parametrize(
    ("name", "kind", "file"),
    [
        ("sd15", "canny", ControlFile("control_v11p_sd15_canny_fp16.safetensors")),
        ("sd15", "depth", ControlFile("control_v11f1p_sd15_depth_fp16.safetensors")),
        ("sd15", "tile", ControlFile("control_v11f1e_sd15_tile_fp16.safetensors")),
        ("sdxl", "Canny", ControlFile("controlnet-canny-sdxl-1.0.safetensors")),
        (
            "sdxl",
            "pose",
            ControlFile("controlnet-union-sdxl-1.0-promax.safetensors", "openpose"),
        ),
        ("sd35", "depth", ControlFile("sd3.5_large_controlnet_depth.safetensors")),
        ("flux1-dev", "canny", ControlFile("FLUX.1-dev-ControlNet-Union-Pro-2.0.safetensors")),
        ("flux1-schnell", "depth", ControlFile("FLUX.1-dev-ControlNet-Union-Pro-2.0.safetensors")),
    ],
)
def test_a_file_of_the_family_that_reads_the_kind_is_taken(
    name: str, kind: str, file: ControlFile, server: ServerFacts
) -> None:
    assert control_file(kind, family(name), server) == file


@pytest.mark.parametrize(
    ("listed", "name", "kind"),
    [
        (["flux/canny-xl.safetensors"], "sdxl", "canny"),
        (["xlabs/canny.safetensors"], "sdxl", "canny"),
        (["SDXL/depth.safetensors"], "sd15", "depth"),
        (["canny.safetensors"], "sdxl", "canny"),
        (["controlnet-union-sdxl-1.0.safetensors"], "sdxl", "shuffle"),
    ],
)
def test_a_file_of_another_family_or_kind_is_not_taken(
    listed: list[str], name: str, kind: str, server_with: ServerWith
) -> None:
    server = server_with(ControlNetLoader__control_net_name=listed)
    with pytest.raises(EngineError, match=f"no ControlNet for {kind} maps") as caught:
        control_file(kind, family(name), server)
    assert caught.value.code == "server_model_missing"
    assert "models/controlnet" in caught.value.fix
    assert listed[0] in caught.value.message


@pytest.mark.parametrize(
    "listed", ["SDXL/canny.safetensors", "SDXL\\control-lora-canny-rank256.safetensors"]
)
def test_the_folder_may_tell_the_family(listed: str, server_with: ServerWith) -> None:
    server = server_with(ControlNetLoader__control_net_name=[listed])
    assert control_file("canny", family("sdxl"), server).name == listed


def test_the_starter_has_no_controlnets(server: ServerFacts) -> None:
    with pytest.raises(InputError) as caught:
        control_file("canny", family("starter"), server)
    assert caught.value.code == "feature_unavailable"
