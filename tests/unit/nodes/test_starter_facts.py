"""The starter in ComfyUI's words says what its contract says."""

from __future__ import annotations

import pytest
from kizy.nodes.starter_facts import HEADS, RECOGNISED, SAMPLING, preview_factors
from kizy.starter.architecture import LATENT_CHANNELS
from kizy.starter.checkpoint import UNET_PREFIX


def colours(latent: list[float], factors: list[list[float]], constant: list[float]) -> list[float]:
    columns = zip(*factors, strict=True)
    return [
        sum(value * factor for value, factor in zip(latent, column, strict=True)) + rest
        for column, rest in zip(columns, constant, strict=True)
    ]


def test_previews_have_the_same_colours_from_minus_one_to_one() -> None:
    rows = [[0.1 * row, 0.02, -0.3] for row in range(LATENT_CHANNELS)] + [[0.5, 0.6, 0.7]]
    latent = [0.3 * channel - 1 for channel in range(LATENT_CHANNELS)]
    factors, bias = preview_factors(rows)
    ours = colours(latent, rows[:-1], rows[-1])
    theirs = colours(latent, factors, bias)
    assert [(value + 1) / 2 for value in theirs] == pytest.approx(ours)


def test_the_file_has_what_the_family_is_recognised_by() -> None:
    pytest.importorskip("torch")
    from kizy.starter.checkpoint import STARTER_FILE
    from safetensors import safe_open

    with safe_open(STARTER_FILE, framework="pt") as file:
        first = file.get_slice(f"{UNET_PREFIX}input_blocks.0.0.weight").get_shape()
        block = f"{UNET_PREFIX}input_blocks.1.1."
        key = file.get_slice(f"{block}transformer_blocks.0.attn2.to_k.weight").get_shape()
        turned = file.get_slice(f"{block}proj_in.weight").get_shape()
    assert first[:2] == [RECOGNISED["model_channels"], RECOGNISED["in_channels"]]
    assert key[1] == RECOGNISED["context_dim"]
    assert (len(turned) == 2) == RECOGNISED["use_linear_in_transformer"]
    assert first[0] % HEADS["num_heads"] == 0


def test_the_metadata_alone_says_what_the_whole_file_says() -> None:
    pytest.importorskip("torch")
    from kizy.starter.checkpoint import latent_facts, load

    facts, weights = latent_facts(), load()
    assert (facts.scale, facts.preview) == (weights.latent_scale, weights.preview)


def test_the_schedule_is_the_contracts() -> None:
    torch = pytest.importorskip("torch")
    from kizy.starter.architecture import alphas_and_sigmas

    # As comfy/ldm/modules/diffusionmodules/util.py makes "linear", then zero terminal SNR.
    assert SAMPLING["beta_schedule"] == "linear"
    assert SAMPLING["zsnr"] is True
    start, end = SAMPLING["linear_start"] ** 0.5, SAMPLING["linear_end"] ** 0.5
    betas = torch.linspace(start, end, SAMPLING["timesteps"], dtype=torch.float64) ** 2
    roots = torch.cumprod(1 - betas, 0).sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    assert torch.allclose(roots.float(), alphas_and_sigmas()[0], atol=1e-6)
