"""Drawing with the real starter network. What is drawn does not matter: weights may be random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kizy.core.errors import CancelledError, EngineError
from kizy.core.plan import EnlargeStage, ModelFile, PlannedMask, PlannedStart
from kizy.drawing import masks
from kizy.drawing.cache import ModelCache
from kizy.drawing.cancel import CancelToken
from kizy.drawing.drawer import PREVIEW_EVERY, Drawer
from kizy.drawing.starter_model import StarterModel
from PIL import Image

from tests.fakes.drawer import Listener, plan_of
from tests.unit.drawing.builders import CPU, FakeModel, OneModel, draw, kept

# torch and NumPy disagree inside diffusers' schedulers.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

NOTICES = ["decoded in tiles", "one at a time"]


@pytest.fixture(scope="module")
def starter() -> StarterModel:
    return StarterModel("starter", CPU)


@pytest.fixture(scope="module")
def drawer(starter: StarterModel) -> Drawer:
    return Drawer(CPU, OneModel(starter))


def over(model: FakeModel) -> Drawer:
    return Drawer(CPU, OneModel(model))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def started(tmp_path: Path, picture: Image.Image, strength: float) -> PlannedStart:
    picture.save(tmp_path / "start.png")
    return PlannedStart(picture=kept(tmp_path / "start.png"), strength=strength)


def masked(tmp_path: Path, size: tuple[int, int], feather: int) -> PlannedMask:
    """The middle is drawn anew."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4))
    mask.save(tmp_path / "mask.png")
    return PlannedMask(picture=kept(tmp_path / "mask.png"), feather=feather)


def test_the_same_seed_draws_the_same_pixels(drawer: Drawer) -> None:
    one, other = (draw(drawer, plan_of(seed=5))[0] for _ in range(2))
    assert one.tobytes() == other.tobytes()


def test_another_seed_draws_other_pixels(drawer: Drawer) -> None:
    one, other = (draw(drawer, plan_of(seed=seed))[0] for seed in (5, 6))
    assert one.tobytes() != other.tobytes()


def test_a_freshly_loaded_model_draws_the_same_pixels(drawer: Drawer) -> None:
    fresh = Drawer(CPU, ModelCache())
    assert draw(fresh, plan_of())[0].tobytes() == draw(drawer, plan_of())[0].tobytes()


def test_each_picture_of_several_equals_the_one_drawn_alone(drawer: Drawer) -> None:
    together = draw(drawer, plan_of(count=3, seed=10))
    alone = [draw(drawer, plan_of(seed=seed))[0] for seed in (10, 11, 12)]
    assert [p.tobytes() for p in together] == [p.tobytes() for p in alone]


@pytest.mark.parametrize("size", [(64, 32), (96, 64), (32, 32)])
def test_the_picture_has_the_planned_size(drawer: Drawer, size: tuple[int, int]) -> None:
    width, height = size
    plan = plan_of(width=width, height=height, output_width=width, output_height=height)
    assert draw(drawer, plan)[0].size == size


def test_an_enlarged_picture_has_exactly_the_planned_size(drawer: Drawer) -> None:
    stages = (*plan_of().stages, EnlargeStage(factor=1.6, model=ModelFile(name="x4")))
    plan = plan_of(output_width=101, output_height=99, stages=stages)
    assert draw(drawer, plan)[0].size == (101, 99)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 4.0])
def test_every_guidance_draws(drawer: Drawer, guidance: float) -> None:
    assert len(draw(drawer, plan_of(guidance=guidance))) == 1


def test_one_prompt_at_a_time_predicts_the_same(starter: StarterModel) -> None:
    c = starter.encode("a fox", "rain", 64, 64)
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        both = starter.predict(
            torch.cat([x, x]), torch.tensor(500), torch.cat([c.negative, c.positive]), {}
        )
        alone = starter.predict(x, torch.tensor(500), c.positive, {})
    assert torch.allclose(both[1:], alone, atol=1e-4)


def test_strength_zero_gives_the_decoded_start(
    drawer: Drawer, starter: StarterModel, tmp_path: Path
) -> None:
    picture = noise(64, 64)
    plan = plan_of(start=started(tmp_path, picture, 0.0))
    with torch.inference_mode():
        latents = starter.to_latents(masks.to_pixels(picture, 64, 64))
        expected = masks.to_picture(starter.to_pixels(latents))
    assert draw(drawer, plan)[0].tobytes() == expected.tobytes()


def test_strength_one_draws_what_no_start_would_draw(drawer: Drawer, tmp_path: Path) -> None:
    anew = plan_of(start=started(tmp_path, noise(64, 64), 1.0))
    one, other = (np.asarray(draw(drawer, p)[0], np.int16) for p in (anew, plan_of()))
    assert np.abs(one - other).max() <= 1


def test_strength_decides_how_many_steps_are_drawn(tmp_path: Path) -> None:
    model = FakeModel()
    plan = plan_of(steps=10, start=started(tmp_path, noise(64, 64), 0.3))
    draw(over(model), plan)
    assert model.calls == 3


@pytest.mark.parametrize("feather", [0, 6, 20])
@pytest.mark.parametrize("size", [(64, 64), (333, 217)])
def test_outside_the_mask_the_given_picture_stays_bit_for_bit(
    drawer: Drawer, tmp_path: Path, size: tuple[int, int], feather: int
) -> None:
    picture = noise(*size)
    plan = plan_of(
        output_width=size[0],
        output_height=size[1],
        start=started(tmp_path, picture, 1.0),
        mask=masked(tmp_path, size, feather),
    )
    drawn = np.asarray(draw(drawer, plan)[0])
    with Image.open(tmp_path / "mask.png") as mask:
        outside = np.asarray(mask) == 0
    assert (drawn[outside] == np.asarray(picture)[outside]).all()
    assert (drawn[~outside] != np.asarray(picture)[~outside]).any()


def test_a_mask_of_another_size_fits_itself_to_the_picture(drawer: Drawer, tmp_path: Path) -> None:
    picture = noise(128, 96)
    plan = plan_of(
        output_width=128,
        output_height=96,
        start=started(tmp_path, picture, 1.0),
        mask=masked(tmp_path, (64, 48), 0),
    )
    drawn = np.asarray(draw(drawer, plan)[0])
    assert (drawn[:20] == np.asarray(picture)[:20]).all()


def test_a_drawing_stops_at_the_step_after_the_cancel() -> None:
    model, token = FakeModel(), CancelToken()

    def stop_after_three(fraction: float) -> None:
        if model.calls == 3:
            token.cancel()

    with pytest.raises(CancelledError):
        draw(over(model), plan_of(steps=50), Listener(stop_after_three), token)
    assert model.calls == 3


def test_a_cancelled_drawing_delivers_nothing_more() -> None:
    model, token, delivered = FakeModel(), CancelToken(), []

    def deliver(index: int, picture: Image.Image) -> None:
        delivered.append(index)
        token.cancel()

    with pytest.raises(CancelledError):
        over(model).draw(plan_of(count=5), cancel=token, report=Listener(), deliver=deliver)
    assert delivered == [0]


def test_progress_never_goes_back_and_ends_at_one(drawer: Drawer) -> None:
    listener = Listener()
    draw(drawer, plan_of(count=2, steps=5), listener)
    assert listener.fractions == sorted(listener.fractions)
    assert (listener.fractions[0], listener.fractions[-1]) == (0.0, 1.0)


def test_progress_ends_at_one_when_a_start_picture_saves_steps(tmp_path: Path) -> None:
    listener = Listener()
    plan = plan_of(steps=40, start=started(tmp_path, noise(64, 64), 0.1))
    draw(over(FakeModel()), plan, listener)
    assert listener.fractions[-1] == 1.0


def test_previews_come_every_few_steps_but_not_for_the_last() -> None:
    listener = Listener()
    draw(over(FakeModel()), plan_of(steps=2 * PREVIEW_EVERY), listener)
    assert [picture.size for picture in listener.previews] == [(128, 128)]


def test_previews_can_be_switched_off() -> None:
    listener, model = Listener(), FakeModel()
    draw(Drawer(CPU, OneModel(model), previews=False), plan_of(steps=20), listener)
    assert listener.previews == []


@pytest.mark.parametrize("times", [0, 1, 2])
def test_memory_running_out_is_met_by_one_saving_after_the_other(times: int) -> None:
    listener = Listener()
    pictures = draw(over(FakeModel(out_of_memory=times)), plan_of(), listener)
    assert len(pictures) == 1
    assert [code for code, _ in listener.notices] == ["less_memory"] * times
    for (_, text), words in zip(listener.notices, NOTICES, strict=False):
        assert words in text


def test_savings_that_were_taken_stay_for_the_next_picture() -> None:
    model, listener = FakeModel(out_of_memory=2), Listener()
    draw(over(model), plan_of(count=2), listener)
    assert model.tiled and set(model.batches) == {1}
    assert len(listener.notices) == 2


def test_a_decode_that_runs_out_of_memory_is_tried_again_without_drawing_again() -> None:
    class Wide(FakeModel):
        def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
            if not self.tiled:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().to_pixels(latents)

    model, listener = Wide(), Listener()
    (picture,) = draw(over(model), plan_of(steps=3), listener)
    assert picture.size == (64, 64)
    assert model.calls == 3
    assert [text for _, text in listener.notices] == [
        "Memory ran out: the picture is decoded in tiles."
    ]


def test_the_next_drawing_begins_without_tiles() -> None:
    model = FakeModel(out_of_memory=1)
    drawer = over(model)
    draw(drawer, plan_of())
    assert model.tiled
    draw(drawer, plan_of())
    assert not model.tiled


def test_a_model_without_a_folder_is_not_taken_for_the_starter() -> None:
    with pytest.raises(EngineError) as caught:
        draw(Drawer(CPU), plan_of(family="sd15", model=ModelFile(name="photos")))
    assert "photos has no folder here" in caught.value.message


def test_the_first_saving_is_to_unload_other_models() -> None:
    cache, listener = OneModel(FakeModel(out_of_memory=1)), Listener()
    other = FakeModel("other")
    ModelCache.get(cache, ("other",), 1, CPU, lambda: other)
    draw(Drawer(CPU, cache), plan_of(), listener)
    assert other.unloaded
    assert "other models were unloaded" in listener.notices[0][1]


def test_when_no_saving_is_left_it_says_out_of_memory() -> None:
    listener = Listener()
    with pytest.raises(EngineError) as caught:
        draw(over(FakeModel(out_of_memory=99)), plan_of(), listener)
    assert caught.value.code == "out_of_memory"
    assert len(listener.notices) == len(NOTICES)


def test_memory_running_out_over_the_prompt_says_out_of_memory() -> None:
    class Narrow(FakeModel):
        def encode(self, *arguments: object):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(EngineError) as caught:
        draw(over(Narrow()), plan_of())
    assert caught.value.code == "out_of_memory"


def test_memory_running_out_while_loading_says_out_of_memory() -> None:
    class Full(ModelCache):
        def get(self, *arguments: object, **named: object):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(EngineError) as caught:
        draw(Drawer(CPU, Full()), plan_of())
    assert caught.value.code == "out_of_memory"


def test_numbers_that_are_no_colours_are_an_error() -> None:
    class Broken(FakeModel):
        def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
            return super().to_pixels(latents) * float("nan")

    with pytest.raises(EngineError) as caught:
        draw(over(Broken()), plan_of())
    assert caught.value.code == "drawing_failed"
