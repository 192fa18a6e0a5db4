"""What the starter's benchmark asks for, and what it judges."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.starter_quality import NOT_SQUARE, background, parts, wishes


@pytest.mark.parametrize(
    ("size", "count", "squares"),
    [
        ((128, 128), 1, [(0, 0, 128)]),
        ((96, 160), 1, [(0, 32, 96)]),
        ((128, 128), 2, [(32, 0, 64), (32, 64, 64)]),
        ((96, 160), 2, [(8, 0, 80), (8, 80, 80)]),
        ((160, 96), 2, [(0, 8, 80), (80, 8, 80)]),
    ],
)
def test_each_thing_is_judged_by_the_square_that_it_lies_in(
    size: tuple[int, int], count: int, squares: list[tuple[int, int, int]]
) -> None:
    picture = np.arange(size[0] * size[1]).reshape(*size, 1)
    expected = [
        picture[top : top + side, left : left + side].tolist() for top, left, side in squares
    ]
    assert [part.tolist() for part in parts(picture, count)] == expected


def test_wishes_name_what_should_be_seen() -> None:
    labels = ["lemon", "rose", "owl"]
    for wish in wishes(20, labels, seed=1, things=2, sizes=NOT_SQUARE):
        assert " and " in wish.prompt
        assert wish.color in wish.prompt
        assert len(wish.labels) == 2
        assert wish.size in NOT_SQUARE
    assert wishes(5, labels, seed=1) == wishes(9, labels, seed=1)[:5]


def test_the_background_is_what_lies_at_the_border() -> None:
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:] = (70, 130, 220)
    picture[20:70, 20:120] = (220, 50, 47)
    assert background(picture) == "blue"
