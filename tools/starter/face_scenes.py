"""Training pictures for the finder of drawn faces: emoji on made-up backgrounds, with boxes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from .renders import Renders, is_held_out

SMILEYS, PEOPLE = 0, 1
"""emojibase's groups."""

ROUND_FACES = frozenset(range(11))
"""Subgroups of the smileys that are faces of people: all but costumes, cats and monkeys."""

HEADS = 23
HALF_FIGURES = frozenset({24, 25, 26})
"""Subgroups of the people whose face can be told from its colour."""

THINGS = frozenset({4, 5, 6, 7, 8})
"""Groups without faces: food, places, activities, objects, symbols."""

FIGURES = (" face", "moon", "sun", "bear", "moai", "doll", "chess", "person", "man", "woman")
"""Words in the names of things that do have one."""

LEAST_SKIN = 0.03
"""Share of a glyph's pixels that are skin, from which the face is taken to be known."""


LEAST_FACE = 10
"""Pixels: nobody could tell a smaller face from something else."""


@dataclass(frozen=True)
class Cast:
    """Indices of glyphs: `faces` with their boxes as shares of the glyph's side, and `things`."""

    faces: dict[int, tuple[float, float, float, float]]
    things: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """`pixels`: uint8, side x side x 3. `boxes`: left, top, right, bottom of each face, pixels."""

    pixels: np.ndarray
    boxes: tuple[tuple[float, float, float, float], ...]


def cast(renders: Renders, packages: Path, *, held_out: bool) -> Cast:
    """Who can stand in a scene: those that no training sees, or all the others."""
    data = json.loads((packages / "node_modules/emojibase-data/en/data.json").read_text("utf-8"))
    kinds = {entry["label"]: (entry.get("group"), entry.get("subgroup")) for entry in data}
    faces: dict[int, tuple[float, float, float, float]] = {}
    things: list[int] = []
    for index, glyph in enumerate(renders.glyphs):
        if _left_for_measuring(glyph.label) != held_out:
            continue
        group, subgroup = kinds[glyph.label]
        box = None
        if group == SMILEYS and subgroup in ROUND_FACES and "skull" not in glyph.label:
            box = _outline(renders.pictures[index])
        elif group == PEOPLE and subgroup == HEADS:
            box = _skin(renders.pictures[index])
        elif group == PEOPLE and subgroup in HALF_FIGURES:
            box = _skin(renders.pictures[index])
            box = box if box is not None and _plausible(box) else None
        elif group in THINGS and not any(word in f" {glyph.label}" for word in FIGURES):
            things.append(index)
        if box is not None:
            faces[index] = box
    return Cast(faces, tuple(things))


def _left_for_measuring(label: str) -> bool:
    return is_held_out(label) or sum(label.encode()) % 6 == 0


def _plausible(box: tuple[float, float, float, float]) -> bool:
    width, height = box[2] - box[0], box[3] - box[1]
    return 0.75 <= width / height <= 1.4 and height <= 0.7


def _outline(glyph: np.ndarray) -> tuple[float, float, float, float] | None:
    return _bounds(np.asarray(glyph)[..., 3] > 128)


def _skin(glyph: np.ndarray) -> tuple[float, float, float, float] | None:
    red, green, blue, alpha = np.asarray(glyph).astype(int).transpose(2, 0, 1)
    skin = (alpha > 200) & (red > 190) & (green > 110) & (blue < 150)
    skin &= (red - blue > 70) & (red >= green) & (red - green < 80)
    return _bounds(skin) if skin.mean() >= LEAST_SKIN else None


def _bounds(shape: np.ndarray) -> tuple[float, float, float, float] | None:
    """Where a third as much of the shape is as in its fullest row and column."""
    across, down = shape.sum(0), shape.sum(1)
    if not across.any():
        return None
    columns = np.nonzero(across > 0.3 * across.max())[0]
    rows = np.nonzero(down > 0.3 * down.max())[0]
    side = len(shape)
    return (
        columns[0] / side,
        rows[0] / side,
        (columns[-1] + 1) / side,
        (rows[-1] + 1) / side,
    )


class SceneMaker:
    """Makes scenes of a side in pixels by a random generator that is handed in."""

    def __init__(
        self, renders: Renders, cast_: Cast, side: int, photos: Sequence[np.ndarray] = ()
    ) -> None:
        self._renders, self._cast, self._side = renders, cast_, side
        self._faces = list(cast_.faces)
        self._photos = photos

    def make(self, rng: random.Random) -> Scene:
        """A background, some things, then none to a dozen faces that do not cover each other."""
        side = self._side
        canvas = self._background(rng)
        boxes: list[tuple[float, float, float, float]] = []
        for _ in range(rng.choice((0, 0, 1, 2, 4, 8))):
            size = round(side * rng.uniform(0.08, 0.6))
            self._put(rng, canvas, rng.choice(self._cast.things), size, self._place(rng, size))
        crowd = rng.choice((0, 1, 1, 1, 2, 3, 6, 12))
        largest = 1.0 if crowd == 1 else 0.6 if crowd <= 3 else 0.3
        for _ in range(crowd):
            size = round(side * largest * rng.uniform(0.15, 1.0) ** 1.3)
            index = rng.choice(self._faces)
            place = self._place(rng, size)
            box = _moved(self._cast.faces[index], size, place)
            if min(box[2] - box[0], box[3] - box[1]) < LEAST_FACE or any(
                _overlap(box, other) for other in boxes
            ):
                continue
            mirrored = self._put(rng, canvas, index, size, place, tinted=True)
            if mirrored:
                left, top, right, bottom = self._cast.faces[index]
                box = _moved((1 - right, top, 1 - left, bottom), size, place)
            boxes.append(box)
        return Scene(_aged(rng, canvas), tuple(_inside(box, side) for box in boxes))

    def _place(self, rng: random.Random, size: int) -> tuple[int, int]:
        reach = self._side - size
        slack = round(0.15 * size)
        low, high = min(0, reach) - slack, max(0, reach) + slack
        return rng.randint(low, high), rng.randint(low, high)

    def _put(
        self,
        rng: random.Random,
        canvas: Image.Image,
        index: int,
        size: int,
        place: tuple[int, int],
        *,
        tinted: bool = False,
    ) -> bool:
        glyph = Image.fromarray(np.asarray(self._renders.pictures[index]))
        glyph = glyph.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=1.5)
        mirrored = rng.random() < 0.5
        if mirrored:
            glyph = ImageOps.mirror(glyph)
        if tinted or rng.random() < 0.3:
            glyph = _tinted(rng, glyph)
        glyph = glyph.rotate(rng.gauss(0, 6), Image.Resampling.BILINEAR)
        canvas.paste(glyph, place, glyph)
        return mirrored

    def _background(self, rng: random.Random) -> Image.Image:
        side = self._side
        kind = rng.random()
        if self._photos and kind < 0.25:
            photo = Image.fromarray(rng.choice(self._photos))
            crop = rng.randint(min(photo.size) // 4, min(photo.size))
            left = rng.randint(0, photo.width - crop)
            top = rng.randint(0, photo.height - crop)
            return photo.crop((left, top, left + crop, top + crop)).resize((side, side))
        color = tuple(rng.randint(0, 255) for _ in range(3))
        if kind < 0.6:
            return Image.new("RGB", (side, side), color)
        cells = rng.choice((2, 2, 3, 8, 40))
        noise = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (cells, cells, 3))
        smooth = rng.choice((Image.Resampling.NEAREST, Image.Resampling.BICUBIC))
        return Image.fromarray(noise.astype(np.uint8)).resize((side, side), smooth)


def _tinted(rng: random.Random, glyph: Image.Image) -> Image.Image:
    """Other skins, other light: half of the faces keep their yellow."""
    alpha = glyph.getchannel("A")
    flat = glyph.convert("RGB")
    draw = rng.random()
    if draw < 0.35:
        tone = np.array([rng.uniform(0.45, 1.0), rng.uniform(0.4, 0.95), rng.uniform(0.5, 2.2)])
        values = np.asarray(flat).astype(np.float32)
        grey = values.mean(2, keepdims=True)
        mixed = (grey + (values - grey) * rng.uniform(0.3, 0.8)) * tone
        flat = Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
    elif draw < 0.45:
        flat = ImageOps.grayscale(flat).convert("RGB")
    elif draw < 0.5:
        hue, saturation, value = flat.convert("HSV").split()
        turned = (np.asarray(hue).astype(int) + rng.randint(0, 255)) % 256
        hue = Image.fromarray(turned.astype(np.uint8))
        flat = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    flat = ImageEnhance.Brightness(flat).enhance(rng.uniform(0.75, 1.2))
    flat = ImageEnhance.Contrast(flat).enhance(rng.uniform(0.7, 1.2))
    flat.putalpha(alpha)
    return flat


def _aged(rng: random.Random, canvas: Image.Image) -> np.ndarray:
    """Blurred and noisy, as a small model draws."""
    if rng.random() < 0.4:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.0)))
    if rng.random() < 0.1:
        canvas = ImageOps.grayscale(canvas).convert("RGB")
    values = np.asarray(canvas).astype(np.float32)
    if rng.random() < 0.3:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 8, values.shape)
        values = values + noise.astype(np.float32)
    return values.clip(0, 255).astype(np.uint8)


def _moved(
    box: tuple[float, float, float, float], size: int, place: tuple[int, int]
) -> tuple[float, float, float, float]:
    x, y = place
    return x + box[0] * size, y + box[1] * size, x + box[2] * size, y + box[3] * size


def _inside(box: tuple[float, float, float, float], side: int) -> tuple[float, float, float, float]:
    return max(0.0, box[0]), max(0.0, box[1]), min(side, box[2]), min(side, box[3])


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
