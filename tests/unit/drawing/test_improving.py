"""Parts of a picture drawn again in this process: one after the other, each with its own words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kizy.core.errors import CancelledError, EngineError
from kizy.core.plan import DrawStage, EnlargeStage, ImproveStage, ModelFile, Plan, PlannedStart
from kizy.drawing.cancel import CancelToken
from kizy.drawing.drawer import Drawer
from kizy.drawing.model import Conditioning
from PIL import Image

from tests.fakes.drawer import Listener, plan_of
from tests.unit.drawing.builders import CPU, FakeModel, OneModel, draw, kept

# torch and NumPy disagree inside diffusers' schedulers.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

PARTS = ((10, 40, 50, 80), (90, 10, 130, 50), (150, 60, 190, 100))
SIZE = (200, 120)
STEPS, STRENGTH, EACH = 4, 0.5, 2
"""`EACH`: steps that are drawn of a part."""


class Narrow(FakeModel):
    """Runs out of memory in these calls, counted from 1; keeps the prompts that it was told."""

    def __init__(self, *short: int) -> None:
        super().__init__()
        self._short = short
        self.prompts: list[str] = []

    def encode(self, prompt: str, negative: str, width: int, height: int) -> Conditioning:
        self.prompts.append(prompt)
        return super().encode(prompt, negative, width, height)

    def predict(self, latents: torch.Tensor, *others: object) -> torch.Tensor:
        if self.calls + 1 in self._short:
            self.calls += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot.")
        return super().predict(latents, *others)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    cells = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    Image.fromarray(cells).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def improving(picture: Path, *first: DrawStage | EnlargeStage, **changes: object) -> Plan:
    """Three marked parts of a picture; without `first` stages it is kept as it is."""
    mask = Image.new("L", SIZE)
    for box in PARTS:
        mask.paste(255, box)
    mask.save(picture.with_name("mask.png"))
    values = {"what": "mask", "amount": "normal", "strength": STRENGTH, "multiple": 32}
    values |= {"width": 64, "height": 64, "mask": kept(picture.with_name("mask.png"))}
    stage = ImproveStage(**(values | changes))
    start = PlannedStart(picture=kept(picture), strength=0 if not first else 1.0)
    return plan_of(
        steps=STEPS,
        start=start,
        width=64,
        height=64,
        output_width=SIZE[0],
        output_height=SIZE[1],
        stages=(*first, stage),
    )


def over(model: FakeModel) -> Drawer:
    return Drawer(CPU, OneModel(model))


def test_each_part_is_drawn_once_and_the_rest_stays_bit_for_bit(picture: Path) -> None:
    model = FakeModel()
    drawn = np.asarray(draw(over(model), improving(picture))[0])
    assert model.calls == len(PARTS) * EACH
    outside = np.ones((SIZE[1], SIZE[0]), bool)
    for left, top, right, bottom in PARTS:
        outside[top:bottom, left:right] = False
    before = np.asarray(Image.open(picture))
    assert (drawn[outside] == before[outside]).all()
    assert (drawn[~outside] != before[~outside]).any()


@pytest.mark.parametrize("failing", [1, EACH + 2, 3 * EACH])
def test_where_memory_runs_out_only_that_part_is_drawn_again(picture: Path, failing: int) -> None:
    listener, model = Listener(), Narrow(failing)
    once = draw(over(FakeModel()), improving(picture))
    assert draw(over(model), improving(picture), listener)[0].tobytes() == once[0].tobytes()
    lost = (failing - 1) % EACH + 1
    assert model.calls == len(PARTS) * EACH + lost
    assert [code for code, _ in listener.notices] == ["improved", "less_memory"]


def test_what_was_drawn_before_a_part_is_not_drawn_again_for_it(picture: Path) -> None:
    model = Narrow(STEPS + 1)
    draw(over(model), improving(picture, DrawStage()))
    assert model.calls == STEPS + 1 + len(PARTS) * EACH


def test_a_saving_stays_for_the_parts_that_follow(picture: Path) -> None:
    model, listener = Narrow(EACH + 1, EACH + 2), Listener()
    draw(over(model), improving(picture), listener)
    assert model.tiled
    assert model.batches == [2] * EACH + [1] * (2 * EACH) * 2
    assert len(listener.notices) == 3


def test_when_no_saving_is_left_it_says_out_of_memory(picture: Path) -> None:
    with pytest.raises(EngineError) as caught:
        draw(over(Narrow(*range(EACH + 1, 99))), improving(picture))
    assert caught.value.code == "out_of_memory"


def test_progress_never_goes_back_also_where_a_part_is_drawn_again(picture: Path) -> None:
    listener = Listener()
    draw(over(Narrow(2, 4)), improving(picture), listener)
    assert listener.fractions == sorted(listener.fractions)
    assert listener.fractions[-1] == 1.0
    assert listener.fractions[-2] < 1.0


def test_each_part_follows_its_line_and_without_one_the_prompt(picture: Path) -> None:
    model = Narrow()
    plan = improving(picture, prompts=("a king", "", "a queen"))
    draw(over(model), plan)
    # The first is the picture's own.
    assert model.prompts[1:] == ["a king", plan.prompt, "a queen"]


def test_it_stops_between_two_parts(picture: Path) -> None:
    model, token = FakeModel(), CancelToken()

    def stop(fraction: float) -> None:
        if model.calls == EACH:
            token.cancel()

    with pytest.raises(CancelledError):
        draw(over(model), improving(picture), Listener(stop), token)
    assert model.calls == EACH


def test_enlarging_that_runs_out_of_memory_does_not_begin_anew(picture: Path) -> None:
    model, tries = FakeModel(), []

    class Enlarging(Drawer):
        def _enlarge(self, picture: Image.Image, model: ModelFile, factor: float) -> Image.Image:
            tries.append(picture.size)
            if len(tries) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return picture.resize((round(picture.width * factor), round(picture.height * factor)))

    stages = (DrawStage(), EnlargeStage(factor=2, model=ModelFile(name="x4")))
    plan = improving(picture, *stages)
    draw(Enlarging(CPU, OneModel(model)), plan)
    assert len(tries) == 2
    assert model.calls == STEPS + len(PARTS) * EACH
