from __future__ import annotations

from math import log

import pytest
from kizy.trainer.buckets import assign, bucket_sizes


@pytest.mark.parametrize(("resolution", "multiple"), [(128, 8), (512, 64), (1024, 64), (768, 32)])
def test_all_sizes_are_multiples_within_the_area(resolution: int, multiple: int) -> None:
    sizes = bucket_sizes(resolution, multiple)
    assert (resolution, resolution) in sizes
    for width, height in sizes:
        assert width % multiple == height % multiple == 0
        assert width * height <= resolution**2
        assert resolution // 2 <= min(width, height)
        assert max(width, height) <= 2 * resolution
        assert (height, width) in sizes


def test_a_resolution_that_is_no_multiple_is_rounded_down() -> None:
    assert assign(1000, 1000, 500, 64) == (448, 448)
    with pytest.raises(ValueError, match="no bucket"):
        bucket_sizes(32, 64)


@pytest.mark.parametrize(
    ("size", "bucket"),
    [((2000, 2000), (512, 512)), ((4000, 3000), (576, 448)), ((1080, 1920), (384, 640))],
)
def test_a_picture_gets_the_bucket_of_its_shape(
    size: tuple[int, int], bucket: tuple[int, int]
) -> None:
    assert assign(*size, 512, 64) == bucket


def test_no_bucket_would_be_nearer() -> None:
    for width in range(300, 4000, 137):
        shape = log(width / 1200)
        found = assign(width, 1200, 512, 64, enlarge=True)
        best = min(abs(log(w / h) - shape) for w, h in bucket_sizes(512, 64))
        assert abs(log(found[0] / found[1]) - shape) == pytest.approx(best)


def test_nothing_is_enlarged_unless_told() -> None:
    for width in range(64, 700, 23):
        for height in range(64, 700, 29):
            found = assign(width, height, 512, 64)
            assert found[0] <= width
            assert found[1] <= height
            assert found[0] % 64 == found[1] % 64 == 0
    assert assign(200, 200, 512, 64) == (192, 192)
    assert assign(200, 200, 512, 64, enlarge=True) == (512, 512)


def test_a_side_below_the_multiple_is_enlarged_all_the_same() -> None:
    assert assign(40, 300, 512, 64) == (64, 256)
