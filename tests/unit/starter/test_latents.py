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
from kizy.starter.concepts import COLORS, STYLES
from kizy.tools.starter.compose import Composer
from kizy.tools.starter.latents import (
    ALL_SHARDS,
    PAIRS,
    ROUND,
    SHAPES,
    SHARES,
    STILL_LAYOUT,
    WORDINGS,
    Halves,
    encoded,
    load_shards,
    make_shard,
    shard_content,
    shard_file,
)
from kizy.tools.starter.renders import Glyph, Renders
from kizy.tools.starter.runs import load_tensors

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
    for index in range(len(ROUND)):
        make_shard(renders, LABELS, model, made, index)
    return made


@pytest.mark.parametrize("shape", [(128, 128), (160, 96), (128, 192)])
def test_a_pair_of_halves_is_the_pair(
    renders: Renders, tmp_path: Path, shape: tuple[int, int]
) -> None:
    composer, glyphs = Composer(renders, LABELS, STILL_LAYOUT), renders.of(LABELS)
    width, height = shape
    # How far the trained encoder looks past the seam is what it depends on.
    model = build_autoencoder().eval()
    model.load_state_dict(checkpoint.load().autoencoder)
    halves = Halves(composer, glyphs, model, shape, tmp_path, "these")
    for color in (None, "light blue"):
        whole = composer.compose(random.Random(0), (1, 4), color, (2 * width, 2 * height)).pixels
        expected = encoded(model, [whole], min(shape))[0]
        found = halves.pair((1, 4), color)
        assert found.shape == (8, height // 8, width // 8)
        across = (0, 2) if height > width else (0, 1)
        error = (found - expected).square().mean(across) / expected.var()
        # What the other half's thing does to the latents at the seam.
        seam = len(error) // 2
        assert error.max() < 0.03
        assert error[: seam - 2].max() < 1e-4
        assert error[seam + 2 :].max() < 1e-4
    assert (tmp_path / f"twice-{width}x{height}-light-blue.safetensors").exists()


def test_halves_of_other_things_are_made_anew(renders: Renders, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_autoencoder().eval()
    composer = Composer(renders, LABELS, STILL_LAYOUT)
    for made_from, glyphs in (("both", [0, 3]), ("other", [3, 4])):
        members = glyphs[:1] * 2
        made, again = (
            Halves(composer, glyphs, model, (128, 128), tmp_path, made_from).pair(members, "red")
            for _ in range(2)
        )
        whole = composer.compose(random.Random(0), members, "red").pixels
        assert torch.equal(made, again)
        assert torch.allclose(made, encoded(model, [whole], 128)[0], atol=1e-4)


def test_shards_hold_what_their_place_says(folder: Path, renders: Renders) -> None:
    for index, (kind, form) in enumerate(ROUND):
        tensors, metadata = load_tensors(shard_file(folder, index))
        assert metadata["kind"] == kind
        count = len(renders.glyphs) * (PAIRS if kind == "pair" else WORDINGS)
        width, height = (128, 128) if form == "square" else SHAPES[0]
        assert tensors["latents"].shape == (count, 8, height // 8, width // 8)
        assert tensors["texts"].shape == (count, 32, 384)


def test_all_shards_hold_every_kind_in_every_shape() -> None:
    contents = [shard_content(index) for index in range(ALL_SHARDS)]
    assert set(contents) == {(kind, shape) for kind in SHARES for shape in ((128, 128), *SHAPES)}
    assert shard_content(ALL_SHARDS) == shard_content(0)


def test_kinds_are_drawn_in_their_shares_however_many_rows_they_have(folder: Path) -> None:
    found = load_shards(folder)
    assert [shape.latents.shape[2:] for shape in found] == [(16, 16), (12, 20)]
    for shape, form in zip(found, ("square", "long"), strict=True):
        totals, start = dict.fromkeys(SHARES, 0.0), 0
        for index, (kind, its_form) in enumerate(ROUND):
            if its_form == form:
                count = len(load_tensors(shard_file(folder, index))[0]["latents"])
                totals[kind] += float(shape.weights[start : start + count].sum())
                start += count
        assert start == len(shape.weights)
        assert totals == pytest.approx(SHARES)


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
