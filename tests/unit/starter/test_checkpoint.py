"""The starter's file: what is packed is read again; ComfyUI finds its names."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from kizy.core.errors import ModelFileError  # noqa: E402
from kizy.language.quantized import SCALE_SUFFIX  # noqa: E402
from kizy.starter.architecture import (  # noqa: E402
    LATENT_CHANNELS,
    SCHEDULER_CONFIG,
    alphas_and_sigmas,
    build_autoencoder,
    build_unet,
)
from kizy.starter.checkpoint import UNET_PREFIX, StarterWeights, load, pack  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


@pytest.fixture(scope="module")
def weights() -> StarterWeights:
    torch.manual_seed(0)
    preview = [[0.1 * row, 0.2, -0.3] for row in range(LATENT_CHANNELS + 1)]
    return StarterWeights(
        build_unet().state_dict(), build_autoencoder().state_dict(), 0.1234567890123, preview
    )


@pytest.fixture(scope="module")
def file(weights: StarterWeights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("starter") / "starter.safetensors"
    tensors, metadata = pack(weights)
    save_file(tensors, path, metadata)
    return path


def test_names_and_shapes_come_back(weights: StarterWeights, file: Path) -> None:
    for one, other in (
        (weights.unet, load(file).unet),
        (weights.autoencoder, load(file).autoencoder),
    ):
        assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in other.items()}


def test_values_come_back_within_eight_bits(weights: StarterWeights, file: Path) -> None:
    for key, value in load(file).unet.items():
        original = weights.unet[key]
        assert (value - original).abs().max() <= original.abs().max() / 127 * 0.6 + 1e-4, key


def test_the_autoencoder_comes_back_within_float16(weights: StarterWeights, file: Path) -> None:
    for key, value in load(file).autoencoder.items():
        assert torch.equal(value, weights.autoencoder[key].half().float()), key


def test_scale_and_preview_come_back_exactly(weights: StarterWeights, file: Path) -> None:
    back = load(file)
    assert (back.latent_scale, back.preview) == (weights.latent_scale, weights.preview)


def test_the_networks_take_what_is_loaded(file: Path) -> None:
    back = load(file)
    build_unet().load_state_dict(back.unet)
    build_autoencoder().load_state_dict(back.autoencoder)


def test_names_are_comfyuis(weights: StarterWeights) -> None:
    tensors, metadata = pack(weights)
    assert {
        "model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.output_blocks.8.1.proj_out.weight",
        "first_stage_model.taesd_encoder.0.weight",
        "first_stage_model.taesd_decoder.1.weight",
    } <= tensors.keys()
    assert metadata["modelspec.architecture"] == "kizy-starter"


def test_the_unet_is_packed_in_eight_bits(weights: StarterWeights) -> None:
    tensors, _ = pack(weights)
    unet = {k: v for k, v in tensors.items() if k.startswith(UNET_PREFIX)}
    scales = sum(v.numel() for k, v in unet.items() if k.endswith(SCALE_SUFFIX))
    assert sum(v.numel() * v.element_size() for v in unet.values()) < 1.1 * sum(
        v.numel() for v in weights.unet.values()
    )
    assert scales > 0


@pytest.mark.parametrize("kept", [0, 5, 1000])
def test_a_file_that_is_cut_short_is_damaged(file: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelFileError) as caught:
        load(cut)
    assert caught.value.code == "model_file_damaged"


def test_a_file_without_its_metadata_is_damaged(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError):
        load(tmp_path / "x.safetensors")


def test_the_bundled_file_fits_the_networks() -> None:
    back = load()
    build_unet().load_state_dict(back.unet)
    assert len(back.preview) == LATENT_CHANNELS + 1 and back.latent_scale > 0


def test_the_last_step_has_no_signal() -> None:
    alphas, sigmas = alphas_and_sigmas()
    assert (alphas[-1], sigmas[-1]) == (0.0, 1.0)


def test_the_first_step_keeps_its_signal() -> None:
    alphas, _ = alphas_and_sigmas()
    assert float(alphas[0]) == pytest.approx((1 - SCHEDULER_CONFIG["beta_start"]) ** 0.5, abs=1e-6)


def test_signal_falls_and_variance_is_kept() -> None:
    alphas, sigmas = alphas_and_sigmas()
    assert (alphas.diff() < 0).all()
    assert torch.allclose(alphas**2 + sigmas**2, torch.ones(1000), atol=1e-6)


def test_the_alphas_are_those_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    alphas, _ = alphas_and_sigmas()
    theirs = DDIMScheduler(**SCHEDULER_CONFIG).alphas_cumprod
    assert torch.allclose(alphas**2, theirs, atol=1e-5)
