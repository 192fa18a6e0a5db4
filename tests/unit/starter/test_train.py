"""The whole training of the starter, each stage for one step, on renders of a few things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kizy.imaging.enlarge import load_enlarger
from kizy.starter import checkpoint
from kizy.starter.concepts import COLORS, STYLES, taught
from kizy.tools.starter import renders, train, train_enlarger
from kizy.tools.starter.renders import Glyph, Renders, is_held_out
from kizy.tools.starter.runs import load_tensors, save_tensors
from kizy.tools.starter.train_autoencoder import AutoencoderSettings
from kizy.tools.starter.train_enlarger import EnlargerSettings
from kizy.tools.starter.train_unet import UNetSettings

LISTED = sorted(taught(everyday_only=True))[:2]
HIDDEN = next(name for name in (f"thing {i}" for i in range(1000)) if is_held_out(name))


def drawn(folder: Path, size: int, labels: object = None) -> Renders:
    """A square of some colour for every thing and style."""
    glyphs = tuple(Glyph(label, style) for label in (*LISTED, HIDDEN) for style in STYLES)
    pictures = np.zeros((len(glyphs), size, size, 4), np.uint8)
    for picture, color in zip(pictures, COLORS.values(), strict=False):
        picture[size // 8 : -size // 8, size // 8 : -size // 8] = (*color, 255)
    return Renders(glyphs, pictures)


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> train.Training:
    monkeypatch.setattr(renders, "load", drawn)
    monkeypatch.setattr(renders, "install_packages", lambda folder: None)
    monkeypatch.setattr(train, "STARTER_FILE", tmp_path / "weights" / "starter.safetensors")
    monkeypatch.setattr(train, "ENLARGER_FILE", tmp_path / "weights" / "enlarger.safetensors")
    monkeypatch.setattr(train_enlarger, "MEASURED_PAIRS", 2)
    (tmp_path / "weights").mkdir()
    return train.Training(
        folder=tmp_path / "runs",
        packages=tmp_path / "packages",
        everyday_only=True,
        shards=4,
        autoencoder=AutoencoderSettings(steps=1, batch=1, pictures=4),
        unet=UNetSettings(steps=1, batch=1),
        enlarger=EnlargerSettings(steps=1, batch=1, pictures=2),
        autoencoder_from=None,
        unet_from=None,
        enlarger_from=None,
    )


def test_every_stage_follows_from_the_one_before(training: train.Training) -> None:
    for stage in train.STAGES:
        training.run(stage)
    made = checkpoint.load(train.STARTER_FILE)
    trained, _ = load_tensors(training.folder / "unet" / "unet.safetensors")
    assert made.unet.keys() == trained.keys()
    assert torch.allclose(made.unet["conv_in.weight"], trained["conv_in.weight"], atol=0.02)
    assert made.latent_scale == training.scale()
    # The decoder was trained on, and is the one that was exported; the encoder stayed.
    first, _ = load_tensors(training.autoencoder_file)
    later, _ = load_tensors(training.folder / "decoder" / "autoencoder.safetensors")
    for part, same in (("encoder", True), ("decoder", False)):
        weight = f"{part}.layers.0.weight"
        assert torch.equal(later[weight], first[weight]) == same
        assert torch.equal(made.autoencoder[weight], later[weight].half().float())
    assert load_enlarger(train.ENLARGER_FILE, device=torch.device("cpu"))
    for stage in ("autoencoder", "unet", "decoder", "enlarger"):
        assert (training.folder / stage / "log.jsonl").read_text().count('"step": 1') > 0


def test_what_was_not_trained_to_its_end_is_not_exported(training: train.Training) -> None:
    facts = {"step": "5", "steps": "9", "scale": "1.0"}
    save_tensors(training.folder / "unet" / "unet.safetensors", {"a": torch.ones(1)}, facts)
    with pytest.raises(SystemExit, match="step 5 of 9"):
        training.run("export")
    assert not train.STARTER_FILE.exists()
