"""Pictures for the tests of imaging: plain ones, noisy ones, and a drawn face."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw


@pytest.fixture
def noise() -> Callable[..., Image.Image]:
    """noise(width, height): random colours, softened a little, always the same."""

    def made(width: int, height: int, seed: int = 0) -> Image.Image:
        cells = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
        small = Image.fromarray(cells.astype(np.uint8))
        return small.resize((width, height), Image.Resampling.BICUBIC)

    return made


@pytest.fixture
def smiley() -> Callable[..., Image.Image]:
    """smiley(side): a round yellow face with eyes and a mouth on transparent ground."""

    def drawn(side: int) -> Image.Image:
        big = Image.new("RGBA", (256, 256))
        pen = ImageDraw.Draw(big)
        pen.ellipse((4, 4, 251, 251), fill="#ffcc33", outline="#e0a020", width=5)
        for x in (88, 168):
            pen.ellipse((x - 15, 80, x + 15, 126), fill="#5a3a10")
        pen.arc((66, 84, 190, 206), 25, 155, fill="#5a3a10", width=13)
        return big.resize((side, side), Image.Resampling.LANCZOS)

    return drawn
