"""One step of the UNet's training, on true latents and through its own eyes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kizy.language import encode
from kizy.tools.starter import train_unet
from kizy.tools.starter.latents import Latents
from kizy.tools.starter.runs import load_tensors
from kizy.tools.starter.train_unet import UNetSettings, train


def two_pictures(height: int = 16, width: int = 16) -> Latents:
    generator = torch.Generator().manual_seed(0)
    texts = encode(["a lemon, cartoon", "a rose on red, flat sticker"]).half()
    return Latents(torch.randn(2, 8, height, width, generator=generator), texts, torch.ones(2))


def test_a_step_is_taken_with_and_without_own_eyes(tmp_path: Path) -> None:
    data = [two_pictures()]
    biases = []
    for own in (0.0, 1.0):
        settings = UNetSettings(steps=1, batch=2, own=own, empty_prompts=0.0)
        tensors, facts = load_tensors(train(data, 1.0, tmp_path / str(own), settings))
        assert facts["step"] == facts["steps"] == "1"
        state, _ = load_tensors(tmp_path / str(own) / "state.safetensors")
        # The average of so short a run is what was trained.
        assert torch.allclose(tensors["conv_out.bias"], state["module.unet.conv_out.bias"])
        assert all(torch.isfinite(value).all() for value in tensors.values())
        biases.append(tensors["conv_out.bias"])
    assert not torch.equal(*biases)


def test_a_step_in_bfloat16_moves_every_weight(tmp_path: Path) -> None:
    data, moments = [two_pictures()], []
    for bf16 in (False, True):
        folder = tmp_path / str(bf16)
        train(data, 1.0, folder, UNetSettings(steps=1, batch=2, own=1.0, bf16=bf16))
        state, _ = load_tensors(folder / "state.safetensors")
        assert all(value.dtype == torch.float32 for value in state.values())
        moments.append([value for key, value in state.items() if key.endswith(".exp_avg")])
    assert all(value.abs().sum() > 0 for value in moments[1] if value.ndim > 1)
    exact, rounded = (torch.cat([value.flatten() for value in values]) for values in moments)
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.98


def test_what_is_not_square_is_learned_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    build = train_unet.build_unet

    def watched() -> torch.nn.Module:
        model = build()
        model.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
        return model

    monkeypatch.setattr(train_unet, "build_unet", watched)
    monkeypatch.setattr(train_unet, "SQUARE", 0.5)
    data = [two_pictures(), two_pictures(8, 16)]
    before = data[1].texts.clone()
    train(data, 1.0, tmp_path, UNetSettings(steps=6, batch=1, own=0.0))
    # Half as many latents: twice as many pictures.
    assert set(seen) == {(1, 8, 16, 16), (2, 8, 8, 16)}
    assert torch.equal(data[1].texts, before)
