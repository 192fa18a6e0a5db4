"""Kizy Detailer, with something that draws in the place of ComfyUI's samplers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from kizy.catalog.formats.safetensors_header import read_header
from kizy.starter.checkpoint import STARTER_FILE

FAKES = Path(__file__).parents[2] / "fakes"
DENOISER = "model.diffusion_model."
SIZE = (120, 200)
"""Height and width of the pictures."""
PARTS = ((10, 30, 50, 70), (80, 10, 120, 50), (150, 60, 190, 100))
IN_MASK = "everything in the mask"

Box = tuple[float, float, float, float]


class Painter:
    """Draws grey; runs out of memory in these calls, counted from 1."""

    def __init__(self) -> None:
        self.short: tuple[int, ...] = ()
        self.error: Exception | None = None
        self.freed = 0
        self.seeds: list[int] = []
        self.said: list[Any] = []

    def sample(
        self,
        model: Any,
        vae: Any,
        positive: Any,
        negative: Any,
        pixels: torch.Tensor,
        mask: torch.Tensor,
        seed: int,
        settings: Any,
    ) -> torch.Tensor:
        self.seeds.append(seed)
        self.said.append(positive)
        if len(self.seeds) in self.short:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        if self.error is not None:
            raise self.error
        return 1 - pixels

    def free(self) -> None:
        self.freed += 1


@pytest.fixture
def painter() -> Painter:
    return Painter()


@pytest.fixture
def host(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What the node asks of ComfyUI."""
    monkeypatch.syspath_prepend(FAKES)
    from kizy.nodes import _host

    shapes = {
        name.removeprefix(DENOISER): tensor.shape
        for name, tensor in read_header(STARTER_FILE).tensors.items()
        if name.startswith(DENOISER)
    }
    monkeypatch.setattr(_host, "denoiser_shapes", lambda model: shapes)
    monkeypatch.setattr(_host, "sample_again", painter.sample)
    monkeypatch.setattr(_host, "encode_text", lambda clip, text: text)
    monkeypatch.setattr(_host, "free_memory", painter.free)
    monkeypatch.setattr(_host, "raise_if_interrupted", lambda: None)
    return _host


@pytest.fixture
def detail(host: ModuleType) -> Callable[..., Any]:
    """detail(image, ...): what the node gives for pictures (n, height, width, channels)."""
    from kizy.nodes.detailer import KizyDetailer

    # What ComfyUI sets before it runs a node.
    KizyDetailer.hidden = SimpleNamespace(unique_id="1", prompt={"1": {"inputs": {}}})

    def run(image: torch.Tensor, **inputs: Any) -> Any:
        given = {"what": IN_MASK, "mask": marked()} | inputs
        return KizyDetailer.execute(
            image, model=None, clip=None, vae=None, positive="as a whole", negative="", **given
        )

    return run


def noise(count: int = 1, channels: int = 3) -> torch.Tensor:
    """Numbers that no file of eight bits could hold."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand((count, *SIZE, channels), generator=generator)


def marked(*parts: tuple[int, int, int, int]) -> torch.Tensor:
    mask = torch.zeros((1, *SIZE))
    for left, top, right, bottom in parts or PARTS:
        mask[:, top:bottom, left:right] = 1
    return mask


def found(*boxes: Box) -> Callable[[str, Any], list[tuple[Box, float]]]:
    return lambda name, picture: [(box, 0.9) for box in boxes]


def test_outside_the_mask_every_number_stays_as_it_is(detail: Callable[..., Any]) -> None:
    image = noise(channels=4)
    result, mask, _ = detail(image).args
    assert torch.equal(result[mask == 0], image[mask == 0])
    assert torch.equal(result[..., 3], image[..., 3])
    assert (result[..., :3][mask > 0.9] != image[..., :3][mask > 0.9]).any()
    assert torch.equal(image, noise(channels=4))


def test_where_memory_runs_out_only_that_part_is_drawn_again(
    detail: Callable[..., Any], painter: Painter
) -> None:
    whole = detail(noise()).args[0]
    painter.seeds.clear()
    painter.short = (2,)
    again = detail(noise(), seed=0)
    assert torch.equal(again.args[0], whole)
    assert painter.seeds == [0, 1, 1, 2]
    assert painter.freed == 1
    assert "Memory ran out: other models were unloaded" in again.ui["text"][0]


def test_a_part_that_needs_more_memory_than_there_is_says_so(
    detail: Callable[..., Any], painter: Painter
) -> None:
    painter.short = (2, 3)
    with pytest.raises(Exception, match="more memory than is free") as caught:
        detail(noise())
    assert "(out_of_memory)" in str(caught.value)
    assert len(painter.seeds) == 3


def test_an_interrupt_is_no_lack_of_memory(detail: Callable[..., Any], painter: Painter) -> None:
    class Interrupted(Exception):  # noqa: N818
        pass

    painter.error = Interrupted()
    with pytest.raises(Interrupted):
        detail(noise())
    assert len(painter.seeds) == 1
    assert painter.freed == 0


def test_each_face_has_its_own_line_also_beside_one_that_is_left(
    detail: Callable[..., Any],
    painter: Painter,
    host: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, sharp, soft = (5, 5, 12, 12), (10, 12, 118, 118), (140, 30, 190, 90)
    image = torch.full((1, *SIZE, 3), 0.5)
    image[:, :, :130] = noise()[:, :, :130].round()
    monkeypatch.setattr(host, "yolo_boxes", found(small, sharp, soft))
    shown = detail(image, what="faces", detector="bbox/x.pt", prompts="a king\na queen")
    assert "1 drawn again; 1 left as it is: too small to be drawn; 1 left" in shown.ui["text"][0]
    assert painter.said == ["a queen"]


def test_a_line_that_is_empty_or_missing_means_the_whole_prompt(
    detail: Callable[..., Any], painter: Painter
) -> None:
    detail(noise(), prompts="\na queen")
    assert painter.said == ["as a whole", "a queen", "as a whole"]


def test_every_part_of_every_picture_has_a_seed_of_its_own(
    detail: Callable[..., Any], painter: Painter
) -> None:
    given = detail(noise(2), seed=(1 << 64) - 2)
    assert painter.seeds == [(1 << 64) - 2, (1 << 64) - 1, 0, 1, 2, 3]
    assert given.ui["text"][0].splitlines()[1].startswith("Picture 2: 3 parts")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_grey_pictures_and_numbers_that_are_none_are_taken(
    detail: Callable[..., Any], dtype: torch.dtype
) -> None:
    image = noise(channels=1).to(dtype)
    image[0, 0, 0] = float("nan")
    mask = marked()
    mask[0, 0, 0] = float("nan")
    result, _, shown = detail(image, mask=mask).args
    assert result.shape == shown.shape == (1, *SIZE, 3)
    assert torch.isfinite(result[0, 1:]).all()


def test_a_mask_of_another_size_marks_the_same_place(detail: Callable[..., Any]) -> None:
    large = marked((50, 20, 100, 80)).repeat_interleave(3, 1).repeat_interleave(3, 2)
    mask = detail(noise(), mask=large).args[1]
    rows, columns = np.nonzero(mask[0].numpy())
    assert (columns.min(), columns.max()) == pytest.approx((50, 99), abs=1)
    assert (rows.min(), rows.max()) == pytest.approx((20, 79), abs=1)


def test_a_crop_is_given_as_the_model_draws_it(
    detail: Callable[..., Any], painter: Painter, host: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []

    def seen(*given: Any) -> torch.Tensor:
        pixels, mask = given[4], given[5]
        sizes.append(tuple(pixels.shape))
        assert mask.shape == pixels.shape[1:3]
        return painter.sample(*given)

    monkeypatch.setattr(host, "sample_again", seen)
    detail(noise())
    assert all(height % 32 == width % 32 == 0 for _, height, width, _ in sizes)
    assert len(sizes) == len(PARTS)
