"""Shards of latents and captions: what is in them, and how they are read."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from kizy.starter import checkpoint
from kizy.starter.architecture import build_autoencoder
from kizy.starter.compose import Composer
from kizy.starter.concepts import COLORS, STYLES
from kizy.starter.latents import (
    PAIRS,
    SHAPES,
    SHARDS,
    SQUARE_SHARES,
    STILL_LAYOUT,
    WORDINGS,
    Halves,
    encoded,
    load_shards,
    make_shard,
    shard_file,
)
from kizy.starter.renders import Glyph, Renders
from kizy.starter.runs import load_tensors

LABELS = ("lemon", "rose")


@pytest.fixture(scope="module")
def renders() -> Renders:
    glyphs = tuple(Glyph(label, style) for label in LABELS for style in STYLES)
    pictures = np.zeros((len(glyphs), 256, 256, 4), np.uint8)
    for picture, glyph in zip(pictures, glyphs, strict=True):
        picture[32:224, 32:224] = (*COLORS["yellow" if glyph.label == "lemon" else "red"], 255)
    return Renders(glyphs, pictures)


@pytest.fixture(scope="module")
def folder(renders: Renders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("latents")
    torch.manual_seed(0)
    model = build_autoencoder().eval()
    for index in range(len(SHARDS)):
        make_shard(renders, LABELS, model, made, index)
    return made


def test_a_pair_of_halves_is_the_pair(renders: Renders, tmp_path: Path) -> None:
    composer, glyphs = Composer(renders, LABELS, STILL_LAYOUT), renders.of(LABELS)
    # How far the trained encoder looks past the seam is what it depends on.
    model = build_autoencoder().eval()
    model.load_state_dict(checkpoint.load().autoencoder)
    halves = Halves(composer, glyphs, model, tmp_path, "these")
    for color in (None, "light blue"):
        whole = composer.compose(random.Random(0), (1, 4), color).pixels
        expected = encoded(model, [whole], 128)[0]
        found = halves.pair((1, 4), color)
        assert found.shape == (8, 16, 16)
        error = (found - expected).square().mean((0, 1)) / expected.var()
        # What the other half's thing does to the latents at the seam.
        assert error.max() < 0.03
        assert error[:6].max() < 1e-4
        assert error[10:].max() < 1e-4
    assert (tmp_path / "twice-light-blue.safetensors").exists()


def test_halves_of_other_things_are_made_anew(renders: Renders, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_autoencoder().eval()
    composer = Composer(renders, LABELS, STILL_LAYOUT)
    for made_from, glyphs in (("both", [0, 3]), ("other", [3, 4])):
        made = Halves(composer, glyphs, model, tmp_path, made_from).pair(glyphs[:1] * 2, "red")
        again = Halves(composer, glyphs, model, tmp_path, made_from).pair(glyphs[:1] * 2, "red")
        whole = composer.compose(random.Random(0), glyphs[:1] * 2, "red").pixels
        assert torch.equal(made, again)
        assert torch.allclose(made, encoded(model, [whole], 128)[0], atol=1e-4)


def test_shards_hold_what_their_place_says(folder: Path, renders: Renders) -> None:
    shapes = []
    for index, kind in enumerate(SHARDS):
        tensors, metadata = load_tensors(shard_file(folder, index))
        assert metadata["kind"] == kind
        count = len(renders.glyphs) * (PAIRS if kind == "pair" else WORDINGS)
        height, width = tensors["latents"].shape[2:]
        assert tensors["latents"].shape == (count, 8, height, width)
        assert tensors["texts"].shape == (count, 32, 384)
        shapes.append((8 * width, 8 * height))
    square = [shape for shape, kind in zip(shapes, SHARDS, strict=True) if kind != "shaped"]
    assert set(square) == {(128, 128)}
    assert [shape for shape in shapes if shape != (128, 128)] == list(SHAPES[:2])


def test_kinds_are_drawn_in_their_shares_however_many_rows_they_have(folder: Path) -> None:
    square, *others = load_shards(folder)
    assert square.latents.shape[2:] == (16, 16)
    assert sorted(shape.cells for shape in others) == [240, 240]
    rows = [
        (kind, len(load_tensors(shard_file(folder, index))[0]["latents"]))
        for index, kind in enumerate(SHARDS)
        if kind != "shaped"
    ]
    totals, start = dict.fromkeys(SQUARE_SHARES, 0.0), 0
    for kind, count in rows:
        totals[kind] += float(square.weights[start : start + count].sum())
        start += count
    assert start == len(square.weights)
    assert totals == pytest.approx(SQUARE_SHARES)


def test_a_shard_is_made_again_for_another_encoder_alone(
    folder: Path, renders: Renders, tmp_path: Path
) -> None:
    for index in (0, 2):
        shutil.copy(shard_file(folder, index), tmp_path)
    before = shard_file(tmp_path, 0).stat().st_mtime_ns
    torch.manual_seed(0)
    make_shard(renders, LABELS, build_autoencoder().eval(), tmp_path, 0)
    assert shard_file(tmp_path, 0).stat().st_mtime_ns == before
    torch.manual_seed(1)
    make_shard(renders, LABELS, build_autoencoder().eval(), tmp_path, 0)
    assert shard_file(tmp_path, 0).stat().st_mtime_ns != before
    with pytest.raises(ValueError, match="not of one making"):
        load_shards(tmp_path)
