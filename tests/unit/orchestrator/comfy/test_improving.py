"""Improving on servers: each part is a drawing of its own, put into the picture here."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from kizy.core.picture_files import open_picture
from kizy.core.plan import (
    DrawStage,
    EnlargeStage,
    ImproveStage,
    InputPicture,
    ModelFile,
    Plan,
    PlannedStart,
)
from kizy.imaging.areas import mask_areas
from kizy.orchestrator.backends.comfyui.run.detail import in_parts
from PIL import Image, ImageDraw

from tests.fakes.drawer import plan_of


def kept(picture: Image.Image, path: Path) -> InputPicture:
    picture.save(path)
    return InputPicture(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def mask(tmp_path: Path) -> InputPicture:
    """Two parts, left and right."""
    picture = Image.new("L", (200, 100))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((20, 30, 60, 70), fill=255)
    pen.rectangle((130, 20, 190, 80), fill=255)
    return kept(picture, tmp_path / "mask.png")


def stage(mask: InputPicture, **changes: object) -> ImproveStage:
    values = {"what": "mask", "amount": "normal", "strength": 0.4, "mask": mask}
    return ImproveStage(**(values | {"width": 128, "height": 128, "multiple": 32} | changes))


class Painter:
    """Draws what it is asked for in grey and keeps the Plans."""

    def __init__(self, grey: int = 200) -> None:
        self.plans: list[Plan] = []
        self.masks: list[Image.Image] = []
        self.numbers: list[int] = []
        self.shares: list[tuple[float, float]] = []
        self._grey = grey

    def __call__(self, part: Plan, number: int, low: float, high: float) -> bytes:
        self.plans.append(part)
        self.numbers.append(number)
        self.shares.append((low, high))
        if part.mask is not None:
            self.masks.append(open_picture(Path(part.mask.picture.path)))
        size = (part.output_width, part.output_height)
        picture = Image.new("RGB", size, (self._grey,) * 3)
        ImageDraw.Draw(picture).ellipse((size[0] // 3, size[1] // 3, *size), fill="red")
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()


def quiet(code: str, text: str) -> None:
    pass


def test_without_improving_there_is_one_graph() -> None:
    painter = Painter()
    plan = plan_of()
    in_parts(plan, painter, quiet)
    assert painter.plans == [plan]
    assert painter.shares == [(0.0, 1.0)]


def test_each_part_is_drawn_over_its_crop_with_a_mask(mask: InputPicture) -> None:
    painter = Painter()
    size = {"width": 192, "height": 96, "output_width": 200, "output_height": 100}
    plan = plan_of(**size, seed=7, stages=(DrawStage(), stage(mask, prompts=("", "a red sun"))))
    in_parts(plan, painter, quiet)
    first, left, right = painter.plans
    assert first.stages == (DrawStage(),)
    assert [left.prompt, right.prompt] == [plan.prompt, "a red sun"]
    assert [left.seed, right.seed] == [7, 8]
    for part in (left, right):
        assert part.stages == (DrawStage(),)
        assert part.start is not None and part.start.strength == 0.4
        assert part.width % 32 == part.height % 32 == 0
    for picture, part in zip(painter.masks, (left, right), strict=True):
        assert picture.size == (part.width, part.height)
    assert painter.numbers == [0, 1, 2]


def test_the_work_goes_from_nothing_to_all(mask: InputPicture) -> None:
    painter = Painter()
    plan = plan_of(output_width=200, output_height=100, stages=(DrawStage(), stage(mask)))
    in_parts(plan, painter, quiet)
    ends = [0.0, *(high for _, high in painter.shares)]
    assert [low for low, _ in painter.shares] == pytest.approx(ends[:-1])
    assert ends[-1] == pytest.approx(1.0)


def test_a_picture_that_is_only_improved_changes_nowhere_else(
    mask: InputPicture, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 4)).astype(np.uint8)
    given = kept(Image.fromarray(noise), tmp_path / "given.png")
    painter = Painter()
    plan = plan_of(start=PlannedStart(picture=given, strength=0), stages=(stage(mask),))
    data = in_parts(plan, painter, quiet)
    assert len(painter.plans) == 2
    result = Image.open(io.BytesIO(data))
    assert result.mode == "RGBA"
    marked = np.zeros((100, 200), bool)
    for area in mask_areas(open_picture(Path(mask.path)), (200, 100)):
        place = slice(area.top, area.top + area.height), slice(area.left, area.left + area.width)
        marked[place] |= area.mask > 0
    assert (np.asarray(result)[~marked] == noise[~marked]).all()
    assert (np.asarray(result)[marked] != noise[marked]).any()


def test_a_picture_that_is_enlarged_first_is_so_on_the_server(
    mask: InputPicture, tmp_path: Path
) -> None:
    given = kept(Image.new("RGB", (100, 50)), tmp_path / "given.png")
    grown = EnlargeStage(factor=2, model=ModelFile(name="x4"))
    painter = Painter()
    plan = plan_of(
        start=PlannedStart(picture=given, strength=0),
        output_width=200,
        output_height=100,
        stages=(grown, stage(mask)),
    )
    in_parts(plan, painter, quiet)
    assert painter.plans[0].stages == (grown,)
    assert len(painter.plans) == 3


def test_a_part_larger_than_the_model_draws_is_enlarged_again(
    mask: InputPicture, tmp_path: Path
) -> None:
    given = kept(Image.new("RGB", (2000, 1000)), tmp_path / "given.png")
    painter = Painter()
    enlarger = ModelFile(name="x4")
    improving = stage(mask, reach=4.0, enlarger=enlarger)
    plan = plan_of(start=PlannedStart(picture=given, strength=0), stages=(improving,))
    in_parts(plan, painter, quiet)
    for part in painter.plans:
        assert any(isinstance(s, EnlargeStage) and s.model == enlarger for s in part.stages)
        assert part.output_width > part.width


def test_what_was_found_is_said(mask: InputPicture) -> None:
    said: list[tuple[str, str]] = []
    plan = plan_of(output_width=200, output_height=100, stages=(DrawStage(), stage(mask)))
    in_parts(plan, Painter(), lambda code, text: said.append((code, text)))
    assert said == [("improved", "2 parts of the mask drawn again.")]
