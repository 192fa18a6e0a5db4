"""The small parts of drawing: meter, cache, cancel, preview, schedulers, masks, memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from kizy.core.errors import CancelledError, InputError
from kizy.drawing import masks, memory
from kizy.drawing.cache import ModelCache
from kizy.drawing.cancel import CancelToken
from kizy.drawing.preview import SIDE, preview_picture
from kizy.drawing.progress import Meter
from kizy.drawing.schedulers import ZERO_SNR_SAMPLERS, make_scheduler, sampler_names
from kizy.starter.architecture import SCHEDULER_CONFIG, alphas_and_sigmas
from PIL import Image, ImageDraw

from tests.unit.drawing.builders import FakeModel

# torch and NumPy disagree inside diffusers' schedulers.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

CPU = torch.device("cpu")
SD_CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def meter(*seconds: float, **parts: int) -> Meter:
    """A meter whose clock shows these times, one at each part."""
    clock: Iterator[float] = iter((0.0, *seconds))
    return Meter(parts, {"load": 3.0, "step": 0.1}, lambda: next(clock))


def test_before_anything_was_done_the_time_left_is_unknown() -> None:
    assert meter(load=1, step=4).left is None


def test_before_anything_was_done_the_fraction_is_zero() -> None:
    assert meter(load=1, step=4).fraction == 0


def test_when_all_is_done_nothing_is_left() -> None:
    counted = meter(1.0, 2.0, 3.0, step=3)
    for _ in range(3):
        counted.done("step")
    assert (counted.fraction, counted.left) == (1.0, 0.0)


def test_the_time_left_is_learned_from_the_parts_done() -> None:
    counted = meter(2.0, 4.0, step=5)
    counted.done("step")
    counted.done("step")
    assert counted.left == pytest.approx(6.0)


def test_the_guess_is_scaled_by_what_was_seen() -> None:
    counted = meter(6.0, load=1, step=10)
    counted.done("load")
    assert counted.left == pytest.approx(2.0)


@pytest.mark.parametrize("times", [(9.0, 9.1, 30.0, 60.0), (0.0, 0.0, 0.0, 0.0), (1, 2, 50, 51)])
def test_the_fraction_never_goes_back(times: tuple[float, ...]) -> None:
    counted = meter(*times, load=1, step=3)
    seen = []
    for part in ("load", "step", "step", "step"):
        counted.done(part)
        seen.append(counted.fraction)
    assert seen == sorted(seen)
    assert all(0 <= fraction <= 1 for fraction in seen)


def test_a_part_more_than_planned_does_no_harm() -> None:
    counted = meter(1.0, 2.0, 3.0, step=2)
    for _ in range(3):
        counted.done("step")
    assert (counted.fraction, counted.left) == (1.0, 0.0)


def test_an_unset_token_lets_pass() -> None:
    CancelToken().check()


def test_a_set_token_stops() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        token.check()


class Shelf:
    """A cache over a machine that has room for some models of size 1."""

    def __init__(self, room: float) -> None:
        self.room, self.loaded = room, []
        self.cache = ModelCache(lambda device: self._free())

    def _free(self) -> int:
        used = sum(not model.unloaded for model in self.loaded)
        return round((self.room - used) / memory.RESERVE * 100)

    def take(self, name: str) -> FakeModel:
        def load() -> FakeModel:
            self.loaded.append(FakeModel(name))
            return self.loaded[-1]

        return self.cache.get((name,), 100, CPU, load)

    def kept(self) -> list[str]:
        return [model.name for model in self.loaded if not model.unloaded]


def test_a_model_is_loaded_once() -> None:
    shelf = Shelf(room=2)
    assert shelf.take("a") is shelf.take("a")
    assert len(shelf.loaded) == 1


def test_models_stay_while_there_is_room() -> None:
    shelf = Shelf(room=3)
    for name in "abc":
        shelf.take(name)
    assert shelf.kept() == ["a", "b", "c"]


def test_the_least_recently_used_goes_first() -> None:
    shelf = Shelf(room=2)
    for name in ("a", "b", "a", "c"):
        shelf.take(name)
    assert shelf.kept() == ["a", "c"]


def test_a_model_that_went_is_loaded_anew() -> None:
    shelf = Shelf(room=1)
    first = shelf.take("a")
    shelf.take("b")
    assert shelf.take("a") is not first


def test_a_model_that_needs_all_room_is_loaded_all_the_same() -> None:
    assert Shelf(room=0).take("a").name == "a"


def test_dropping_the_oldest_of_none_says_so() -> None:
    assert ModelCache().drop_oldest() is False


def test_keep_only_unloads_the_others() -> None:
    shelf = Shelf(room=3)
    shelf.take("a")
    kept = shelf.take("b")
    assert shelf.cache.keep_only(kept) is True
    assert shelf.kept() == ["b"]


def test_keep_only_says_when_there_was_nothing_else() -> None:
    shelf = Shelf(room=1)
    assert shelf.cache.keep_only(shelf.take("a")) is False


@pytest.mark.parametrize(
    ("latents", "size"), [((16, 16), (128, 128)), ((8, 32), (128, 32)), ((40, 20), (64, 128))]
)
def test_a_preview_is_small_and_keeps_the_shape(latents, size) -> None:
    rows = [[0.1, 0.1, 0.1]] * 5
    picture = preview_picture(torch.zeros(1, 4, *latents), rows)
    assert picture.size == size
    assert max(picture.size) == SIDE


def test_a_preview_shows_the_linear_map() -> None:
    rows = [[0.5, 0.0, 0.0], [0.0, 0.25, 0.0], [0.0, 0.0, 1.0]]
    latents = torch.ones(1, 2, 4, 4)
    assert preview_picture(latents, rows).getpixel((5, 5)) == (128, 64, 255)


@pytest.mark.parametrize("sampler", sampler_names())
def test_every_sampler_can_be_made(sampler: str) -> None:
    scheduler = make_scheduler(sampler, "normal", SD_CONFIG)
    scheduler.set_timesteps(4)
    assert scheduler.timesteps[0] > scheduler.timesteps[-1]


@pytest.mark.parametrize("sampler", ZERO_SNR_SAMPLERS)
def test_with_zero_snr_the_first_step_is_pure_noise(sampler: str) -> None:
    scheduler = make_scheduler(sampler, "simple", SCHEDULER_CONFIG)
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [999, 799, 599, 399, 199]
    clean, noise = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert scheduler.add_noise(clean, noise, scheduler.timesteps[:1]).max() < 1e-3


@pytest.mark.parametrize("steps", [1, 7, 12, 25, 30, 1000])
def test_with_zero_snr_a_right_prediction_leads_to_the_picture(steps: int) -> None:
    scheduler = make_scheduler("euler", "simple", SCHEDULER_CONFIG)
    scheduler.set_timesteps(steps)
    clean, noise = torch.full((1, 1, 2, 2), 0.7), torch.full((1, 1, 2, 2), -1.3)
    alphas, sigmas = alphas_and_sigmas()
    x = noise
    for t in scheduler.timesteps:
        prediction = alphas[t] * noise - sigmas[t] * clean
        x = scheduler.step(prediction, t, x).prev_sample
    assert torch.allclose(x, clean, atol=2e-3)


@pytest.mark.parametrize(
    ("sampler", "schedule", "config", "hint"),
    [
        ("dpmp_2m", "normal", SD_CONFIG, '"dpmpp_2m"'),
        ("euler", "karas", SD_CONFIG, '"karras"'),
        ("uni_pc", "simple", SCHEDULER_CONFIG, "euler"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(sampler, schedule, config, hint) -> None:
    with pytest.raises(InputError, match=hint) as caught:
        make_scheduler(sampler, schedule, config)
    assert caught.value.code == "request_invalid"


def mask_with(box: tuple[int, int, int, int], size=(100, 80), grey: int = 255) -> Image.Image:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rectangle(box, fill=grey)
    return mask


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_latent_mask_has_the_latents_size_and_range() -> None:
    small = masks.latent_mask(mask_with((0, 0, 49, 79)), 64, 32, 8)
    assert small.shape == (1, 1, 4, 8)
    assert (small[..., 0].min(), small[..., -1].max()) == (1.0, 0.0)


def test_pixels_come_back_as_the_picture_they_were() -> None:
    picture = noise(24, 16)
    assert masks.to_picture(masks.to_pixels(picture, 24, 16)).tobytes() == picture.tobytes()


def test_pixels_are_minus_one_to_one() -> None:
    pixels = masks.to_pixels(Image.new("L", (8, 8), 255), 16, 8)
    assert pixels.shape == (1, 3, 8, 16)
    assert (pixels.min(), pixels.max()) == (1.0, 1.0)


@pytest.mark.parametrize(("free", "dtype"), [(100, torch.float32), (20, torch.bfloat16)])
def test_a_cpu_takes_float32_where_it_fits(free: int, dtype: torch.dtype) -> None:
    assert memory.place(10, CPU, free) == memory.Placement(CPU, dtype, offload=False)


@pytest.mark.parametrize(("free", "offload"), [(100, False), (11, True)])
def test_a_gpu_keeps_only_what_runs_where_all_does_not_fit(free: int, offload: bool) -> None:
    gpu = torch.device("cuda")
    assert memory.place(10, gpu, free) == memory.Placement(gpu, torch.float16, offload=offload)
