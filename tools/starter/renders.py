"""Emoji packages from npm, drawn once as RGBA pictures that the training composes from.

The four packages are unpacked as npm would: `<folder>/node_modules/<package name>`.

| package | style | licence |
|---|---|---|
| @lobehub/fluent-emoji-3d | 3d | MIT |
| @twemoji/svg | flat | CC-BY 4.0 |
| @iconify-json/noto | cartoon | Apache-2.0 |
| emojibase-data | names and keywords | MIT |
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...starter.concepts import concepts

log = logging.getLogger(__name__)

PACKAGES = {
    "@lobehub/fluent-emoji-3d": "1.1.0",
    "@twemoji/svg": "15.0.0",
    "@iconify-json/noto": "1.2.9",
    "emojibase-data": "17.0.0",
}
"""The packages of the training data and the versions that the committed weights were made from."""

LEFT_OUT_GROUPS = (2, 9, None)
"""emojibase groups that are no pictures of things: components, flags, ungrouped letters."""

HELD_OUT_SHARE = 0.04
"""Share of the concepts outside `concepts.txt` that the autoencoder never sees."""


@dataclass(frozen=True)
class Glyph:
    """One drawing: which concept in which style."""

    label: str
    style: str


@dataclass(frozen=True)
class Renders:
    """`pictures[i]` (uint8, size x size x 4, straight alpha) shows `glyphs[i]`."""

    glyphs: tuple[Glyph, ...]
    pictures: np.ndarray

    @property
    def size(self) -> int:
        return int(self.pictures.shape[1])

    def of(self, labels: Collection[str]) -> list[int]:
        """Indices of the glyphs that show one of these concepts."""
        return [i for i, glyph in enumerate(self.glyphs) if glyph.label in labels]

    def held_out(self) -> list[int]:
        """Indices of the glyphs that no training sees."""
        return [i for i, glyph in enumerate(self.glyphs) if is_held_out(glyph.label)]


def is_held_out(label: str) -> bool:
    """Whether a concept is kept for measuring; by a hash of its name, so it never changes."""
    if any(label == concept.label for concept in concepts()):
        return False
    digest = hashlib.sha256(label.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT_SHARE


def install_packages(folder: Path) -> None:
    """Fetch the four packages with npm into `folder`; does nothing if they are there."""
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    if all((folder / "node_modules" / name).is_dir() for name in PACKAGES):
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
    subprocess.run([*command, str(folder), *wanted], check=True)


def load(folder: Path, size: int, labels: Collection[str] | None = None) -> Renders:
    """All glyphs at `size` pixels, drawn on the first call and kept beside the packages.

    `labels` restricts them to some concepts; the choice is part of the cache's name.
    """
    key = (
        "all" if labels is None else hashlib.sha256("\n".join(sorted(labels)).encode()).hexdigest()
    )
    pictures_file = folder / f"renders-{size}-{key[:8]}.npy"
    index_file = pictures_file.with_suffix(".json")
    if not index_file.exists():
        _draw_all(folder, size, labels, pictures_file, index_file)
    glyphs = tuple(Glyph(**entry) for entry in json.loads(index_file.read_text()))
    return Renders(glyphs, np.load(pictures_file, mmap_mode="r"))


def _draw_all(
    folder: Path,
    size: int,
    labels: Collection[str] | None,
    pictures_file: Path,
    index_file: Path,
) -> None:
    source = _Source(folder / "node_modules")
    glyphs: list[dict[str, str]] = []
    pictures: list[np.ndarray] = []
    for entry in source.emoji:
        if labels is not None and entry["label"] not in labels:
            continue
        for style, picture in source.draw(entry["hexcode"], size).items():
            glyphs.append({"label": entry["label"], "style": style})
            pictures.append(picture)
    log.info("drew %d glyphs at %d pixels", len(glyphs), size)
    temporary = pictures_file.with_suffix(".part.npy")
    np.save(temporary, np.stack(pictures))
    temporary.rename(pictures_file)
    index_file.write_text(json.dumps(glyphs))


class _Source:
    """Reads the unpacked packages."""

    def __init__(self, modules: Path) -> None:
        data = json.loads((modules / "emojibase-data/en/data.json").read_text("utf-8"))
        self.emoji: list[dict[str, Any]] = [
            e for e in data if e.get("group") not in LEFT_OUT_GROUPS
        ]
        fluent = modules / "@lobehub/fluent-emoji-3d/assets"
        self._fluent = {_key(path.stem): path for path in fluent.glob("*.webp")}
        twemoji = modules / "@twemoji/svg"
        self._twemoji = {_key(path.stem): path for path in twemoji.glob("*.svg")}
        noto = modules / "@iconify-json/noto"
        self._noto = json.loads((noto / "icons.json").read_text("utf-8"))
        chars = json.loads((noto / "chars.json").read_text("utf-8"))
        self._noto_names = {_key(code): name for code, name in chars.items()}

    def draw(self, hexcode: str, size: int) -> dict[str, np.ndarray]:
        key = _key(hexcode)
        pictures: dict[str, np.ndarray] = {}
        if key in self._fluent:
            with Image.open(self._fluent[key]) as picture:
                pictures["3d"] = _fit(picture, size)
        if key in self._twemoji:
            pictures["flat"] = _vector(self._twemoji[key].read_text("utf-8"), size)
        icon = self._noto["icons"].get(self._noto_names.get(key, ""))
        if icon:
            width = icon.get("width", self._noto.get("width", 128))
            height = icon.get("height", self._noto.get("height", 128))
            svg = (
                '<svg xmlns="http://www.w3.org/2000/svg" '
                'xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
            )
            pictures["cartoon"] = _vector(svg, size)
        return pictures


def _key(hexcode: str) -> str:
    return hexcode.lower().replace("-fe0f", "")


def _fit(picture: Image.Image, size: int) -> np.ndarray:
    scaled = picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(scaled)


def _vector(svg: str, size: int) -> np.ndarray:
    import resvg_py

    data = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)
    with Image.open(io.BytesIO(bytes(data))) as picture:
        square = Image.new("RGBA", (size, size))
        drawn = picture.convert("RGBA")
        square.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
        return np.asarray(square)
