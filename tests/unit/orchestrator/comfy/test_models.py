"""Which family a file on a server is of, by its name alone."""

from __future__ import annotations

import pytest
from kizy.catalog.families.family import load_families
from kizy.orchestrator.backends.comfyui.protocol.listed_models import family_of


@pytest.mark.parametrize(
    ("file", "family"),
    [
        ("kizy-starter.safetensors", "starter"),
        ("v1-5-pruned-emaonly-fp16.safetensors", "sd15"),
        ("sd15/realistic_sd15.safetensors", "sd15"),
        ("sd_xl_base_1.0.safetensors", "sdxl"),
        ("SDXL\\juggernautXL_v9Rundiffusion.safetensors", "sdxl"),
        ("dreamshaperXL_v15.safetensors", "sdxl"),
        ("ponyDiffusionV6.safetensors", "sdxl"),
        ("sd3.5_large_fp8_scaled.safetensors", "sd35"),
        ("sd3.5_medium.safetensors", "sd35-medium"),
        ("flux1-dev-fp8.safetensors", "flux1-dev"),
        ("flux1-dev-kontext_fp8_scaled.safetensors", "flux1-kontext"),
        ("flux1-kontext-dev.safetensors", "flux1-kontext"),
        ("flux1-krea-dev_fp8_scaled.safetensors", "flux1-dev"),
        ("flux1-schnell-fp8.safetensors", "flux1-schnell"),
        ("flux2_dev_fp8mixed.safetensors", None),
        ("dreamshaper_8.safetensors", None),
        ("z_image_turbo_bf16.safetensors", None),
    ],
)
def test_a_name_tells_its_family_or_nothing(file: str, family: str | None) -> None:
    assert family_of(file) == family


def test_every_familys_own_files_are_known_by_their_names() -> None:
    for known in load_families().values():
        own = [f.name for f in known.files if f.folder in ("checkpoints", "diffusion_models")]
        assert own and [family_of(name) for name in own] == [known.id] * len(own)
